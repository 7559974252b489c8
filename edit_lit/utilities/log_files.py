"""A run's log files: how far they were written, and cutting them back to there."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path

from edit_lit.utilities.files import write_atomically
from edit_lit.utilities.run_files import METRICS

_EVENTS = "events.out.tfevents.*"


def whole_rows(path: Path) -> list[list[str]]:
    """The rows of a table, its header first; a last line that was cut off as it was written is left out."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        text = file.read()
    return list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))


def write_rows(path: Path, rows: list[list[str]]) -> None:
    """Write a whole table, its header first."""

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)

    write_atomically(path, write)


def mark_logs(folder: Path) -> dict[str, int]:
    """How far the log files of a run are written: rows of the table, bytes of TensorBoard's files.

    Args:
        folder: The run's folder. What loggers hold back must have been flushed.
    """
    rows = len(whole_rows(folder / METRICS)) - 1
    marks = {METRICS: rows} if rows >= 0 else {}
    return marks | {path.name: path.stat().st_size for path in sorted(folder.glob(_EVENTS))}


def cut_logs(folder: Path, marks: Mapping[str, int]) -> None:
    """Bring the log files of a run back to where they were marked, so that what is logged again is there once.

    Args:
        folder: The run's folder.
        marks: What :func:`mark_logs` gave; files without a mark go.
    """
    for path in sorted(folder.glob(_EVENTS)):
        if path.name not in marks:
            path.unlink()
        elif path.stat().st_size > marks[path.name]:
            os.truncate(path, marks[path.name])
    table = folder / METRICS
    if METRICS in marks:
        write_rows(table, whole_rows(table)[: 1 + marks[METRICS]])
    else:
        table.unlink(missing_ok=True)
