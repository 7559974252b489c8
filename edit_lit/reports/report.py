"""The ``report`` verb: figures and tables from the folders of runs."""

from __future__ import annotations

from pathlib import Path

from edit_lit.files import write_atomically
from edit_lit.measures.scores import Rule
from edit_lit.reports.figure import comparison_figure, decay_figure
from edit_lit.reports.run import Run, find_runs
from edit_lit.reports.table import COMPARISON_HEADER, HEADER, comparison_row, markdown_table, run_table


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


def report(runs: list[str], rule: Rule = Rule.EXACT, output: str | None = None) -> list[Path]:
    """Draw each run's decay curve and write its table; with several runs, also one of each that compares them.

    Args:
        runs: Folders of runs, or folders that hold some.
        rule: The success rule of the figures.
        output: Where the comparison goes; ``report/`` in the first named folder if not given.

    Returns:
        The folders that were written.
    """
    found = find_runs([Path(path) for path in runs])
    written = [report_run(run, rule) for run in found]
    if len(found) > 1:
        folder = Path(output) if output else Path(runs[0]) / "report"
        figure = comparison_figure(found, rule)
        write_atomically(folder / "comparison.png", lambda path: figure.savefig(path, dpi=150))
        text = markdown_table(COMPARISON_HEADER, [comparison_row(run) for run in found])
        write_atomically(folder / "comparison.md", lambda path: path.write_text(text, encoding="utf-8"))
        written.append(folder)
    return written
