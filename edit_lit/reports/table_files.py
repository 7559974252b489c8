"""A table as files that are no page: CSV to go on computing with, and LaTeX to be set."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edit_lit.reports.latex import latex_table
from edit_lit.reports.table import Row
from edit_lit.utilities.escaping import visible
from edit_lit.utilities.files import write_atomically


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Args:
        name: The name of its files.
        title: What stands above it.
        header: Names of the columns.
        rows: The cells as texts.
        records: The same numbers, one record for each, for the CSV file; if empty, that has the cells.
        notes: What a reader must know of it.
    """

    name: str
    title: str
    header: Row
    rows: Sequence[Row]
    records: Sequence[dict[str, object]] = ()
    notes: Sequence[str] = ()


def write_csv_and_latex(folder: Path, table: Table) -> None:
    """Write a table's records as ``<name>.csv`` and its cells as ``<name>.tex``."""
    latex = latex_table(table.header, table.rows, table.title)
    write_atomically(folder / f"{table.name}.tex", lambda path: path.write_text(latex, encoding="utf-8"))
    records = table.records or [dict(zip(table.header, row, strict=True)) for row in table.rows]
    write_records(folder / f"{table.name}.csv", records)


def write_records(path: Path, records: Sequence[dict[str, object]]) -> None:
    """Write records as CSV: a column for each name in any of them, and nothing where a number is not known."""
    columns = list(dict.fromkeys(name for record in records for name in record))

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow([visible(name) for name in columns])
            rows.writerows([_cell(record.get(name)) for name in columns] for record in records)

    write_atomically(path, write)


def _cell(value: object) -> object:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return visible(value) if isinstance(value, str) else value
