"""The ``report`` verb: figures and tables from the folders of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edit_lit.facts.request import EditRequest
from edit_lit.measures.scores import Rule
from edit_lit.reports.escaping import markdown_text
from edit_lit.reports.figure import comparison_figure, decay_figure
from edit_lit.reports.lost_facts import LOST_HEADER, lost_facts
from edit_lit.reports.notes import comparison_notes, run_notes
from edit_lit.reports.run import Run, short_names
from edit_lit.reports.table import (
    COMPARISON_HEADER,
    Row,
    comparison_table,
    markdown_table,
    run_header,
    run_table,
)
from edit_lit.utilities.files import write_atomically


def report_run(run: Run, rule: Rule = Rule.EXACT, requests: Sequence[EditRequest] = ()) -> Path:
    """Write ``report/curve.png`` and ``report/table.md`` into a run's folder, and ``report/lost_facts.md``.

    Args:
        run: The run.
        rule: The success rule of the figure and of the lost facts.
        requests: Its edited facts; without them the lost facts are not written.

    Returns:
        The report's folder.
    """
    folder = run.folder / "report"
    figure = decay_figure(run, rule)
    write_atomically(folder / "curve.png", lambda path: figure.savefig(path, dpi=150))
    _write(folder / "table.md", f"# {markdown_text(run.name)}\n\n{run_markdown(run, '![decay curve](curve.png)')}")
    if requests:
        _write(folder / "lost_facts.md", lost_facts_markdown(run, requests, rule))
    return folder


def run_markdown(run: Run, figure: str = "") -> str:
    """Notes and table of a run, as Markdown.

    Args:
        run: The run.
        figure: Markdown between the two.
    """
    parts = [notes_markdown(run_notes(run)), figure, markdown_table(run_header(run), run_table(run))]
    return "\n".join(part if part.endswith("\n") else f"{part}\n" for part in parts if part)


def lost_facts_markdown(run: Run, requests: Sequence[EditRequest], rule: Rule = Rule.EXACT, most: int = 1000) -> str:
    """The lost facts of a run, as Markdown.

    Args:
        run: The run.
        requests: Its edited facts.
        rule: The success rule.
        most: How many facts to show.
    """
    rows = lost_facts(run, requests, rule)
    if not rows:
        return f"No fact that the edit made right is lost at step {run.last_step} ({rule}).\n"
    shown = f", of which the first {most} are shown" if len(rows) > most else ""
    return (
        f"{len(rows)} facts that the edit made right are lost at step {run.last_step} ({rule}){shown}.\n\n"
        + markdown_table(LOST_HEADER, rows[:most])
    )


def report_comparison(
    runs: Sequence[Run], folder: Path, rule: Rule = Rule.EXACT, left_out: Sequence[str] = ()
) -> tuple[list[Row], list[str]]:
    """Write ``comparison.png`` and ``comparison.md`` into a folder.

    Args:
        runs: The runs.
        folder: Where the files go.
        rule: The success rule of the figure.
        left_out: Why other runs are not among them, a line each.

    Returns:
        The table's rows, in the columns of ``COMPARISON_HEADER``, and the notes that belong to it.
    """
    figure = comparison_figure(runs, rule)
    write_atomically(folder / "comparison.png", lambda path: figure.savefig(path, dpi=150))
    rows, notes = comparison_table(runs), comparison_notes(runs, short_names(runs), left_out)
    parts = [markdown_table(COMPARISON_HEADER, rows), notes_markdown(notes)]
    _write(folder / "comparison.md", "\n".join(filter(None, parts)))
    return rows, notes


def notes_markdown(notes: Sequence[str]) -> str:
    """Notes as a list in Markdown; nothing without any."""
    return "".join(f"- {markdown_text(note)}\n" for note in notes)


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
