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
        columns: The columns of the records, if there may be none of these.
    """

    name: str
    title: str
    header: Row
    rows: Sequence[Row]
    records: Sequence[dict[str, object]] = ()
    notes: Sequence[str] = ()
    columns: Sequence[str] = ()


def write_csv_and_latex(folder: Path, table: Table) -> None:
    """Write a table's records as ``<name>.csv`` and its cells as ``<name>.tex``; without any they have the header."""
    latex = latex_table(table.header, table.rows, table.title)
    write_atomically(folder / f"{table.name}.tex", lambda path: path.write_text(latex, encoding="utf-8"))
    path = folder / f"{table.name}.csv"
    if table.records or table.columns:
        write_records(path, table.records, table.columns)
    else:
        write_records(path, [dict(zip(table.header, row, strict=True)) for row in table.rows], table.header)


def replace_tables(folder: Path, names: Sequence[str], tables: Sequence[Table]) -> None:
    """Write tables as CSV and LaTeX, and remove those of an earlier report that are not among them.

    Args:
        folder: Where the files are.
        names: The names of all tables that an earlier report may have written.
        tables: The tables that there are now.
    """
    for table in tables:
        write_csv_and_latex(folder, table)
    for name in set(names) - {table.name for table in tables}:
        for kind in ("csv", "tex"):
            (folder / f"{name}.{kind}").unlink(missing_ok=True)


def write_records(path: Path, records: Sequence[dict[str, object]], columns: Sequence[str] = ()) -> None:
    """Write records as CSV, with nothing where a number is not known.

    Args:
        path: The file.
        records: A row each.
        columns: The first columns, also where no record has them; behind them stand all other names in records.
    """
    names = list(dict.fromkeys([*columns, *(name for record in records for name in record)]))

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow([visible(name) for name in names])
            rows.writerows([_cell(record.get(name)) for name in names] for record in records)

    write_atomically(path, write)


def _cell(value: object) -> object:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return visible(value) if isinstance(value, str) else value
