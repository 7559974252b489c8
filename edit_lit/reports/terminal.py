"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from edit_lit.attribution.result import Attribution
from edit_lit.measures.scores import Rule
from edit_lit.reports.causes import causes_notes, causes_tables
from edit_lit.reports.escaping import terminal_text
from edit_lit.reports.notes import run_notes
from edit_lit.reports.run import Run
from edit_lit.reports.table import Row, run_header, run_table


def print_run(run: Run, rule: Rule = Rule.EXACT) -> None:
    """Print what a reader must know of a run, and its table.

    Args:
        run: The run.
        rule: The success rule that the table has beside ``prob`` and ``exact``.
    """
    print_table(f"Did the edits survive? {run.name}", run_header(run), run_table(run, rule), run_notes(run))


def print_causes(name: str, found: Attribution) -> None:
    """Print an attribution.

    Args:
        name: The run's name.
        found: What was found.
    """
    notes = causes_notes(found)
    tables = causes_tables(found)
    if not tables:
        Console().print(terminal_text(f"{name}: {notes[0]}, so there is nothing to explain"), soft_wrap=True)
    for place, table in enumerate(tables):
        title = table.title if place else f"{table.title} {name}"
        print_table(title, table.header, table.rows, () if place else notes)


def print_table(title: str, header: Row, rows: Sequence[Row], notes: Sequence[str] = ()) -> None:
    """Print a table to the terminal.

    Args:
        title: Stands above it.
        header: Names of the columns.
        rows: The cells.
        notes: Lines between title and table.
    """
    table = Table()
    for number, column in enumerate(header):
        table.add_column(terminal_text(column), justify="right" if number else "left", no_wrap=number == 0)
    for row in rows:
        table.add_row(*map(terminal_text, row))
    console = Console()
    # A log file has no width of its own, and a narrow one would break the numbers.
    console.width = max(console.width, 100 if console.is_terminal else 160)
    for line in (title, *notes):
        console.print(terminal_text(line), soft_wrap=True)
    console.print(table)
