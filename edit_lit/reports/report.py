"""The ``report`` verb: figures and tables from the folders of runs."""

from __future__ import annotations

from pathlib import Path

from edit_lit.measures.scores import Rule
from edit_lit.reports.figure import comparison_figure, decay_figure
from edit_lit.reports.run import Run
from edit_lit.reports.table import COMPARISON_HEADER, HEADER, Row, comparison_table, markdown_table, run_table
from edit_lit.utilities.files import write_atomically


def report_run(run: Run, rule: Rule = Rule.EXACT) -> Path:
    """Write ``report/curve.png`` and ``report/table.md`` into a run's folder.

    Returns:
        The report's folder.
    """
    folder = run.folder / "report"
    figure = decay_figure(run, rule)
    write_atomically(folder / "curve.png", lambda path: figure.savefig(path, dpi=150))
    text = f"# {run.name}\n\n![decay curve](curve.png)\n\n{markdown_table(HEADER, run_table(run))}"
    write_atomically(folder / "table.md", lambda path: path.write_text(text, encoding="utf-8"))
    return folder


def report_comparison(runs: list[Run], folder: Path, rule: Rule = Rule.EXACT) -> list[Row]:
    """Write ``comparison.png`` and ``comparison.md`` into a folder.

    Returns:
        The table's rows, in the columns of ``COMPARISON_HEADER``.
    """
    figure = comparison_figure(runs, rule)
    write_atomically(folder / "comparison.png", lambda path: figure.savefig(path, dpi=150))
    rows = comparison_table(runs)
    text = markdown_table(COMPARISON_HEADER, rows)
    write_atomically(folder / "comparison.md", lambda path: path.write_text(text, encoding="utf-8"))
    return rows
