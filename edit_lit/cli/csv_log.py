"""``metrics.csv``: what a run measures, as a table that a kill leaves whole."""

from __future__ import annotations

import csv
import io
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from edit_lit.utilities.log_files import whole_rows, write_rows
from edit_lit.utilities.run_files import METRICS

_ROWS_HELD_BACK = 100


class MetricsTable(Logger):
    """Writes metrics to ``metrics.csv``, one row for each call and one column for each tag, in the tags' order.

    Rows are only ever added to the file. For a new column it is written anew beside its place and moved there. A table
    that is there already, as in a resumed run, is gone on with.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._columns: list[str] | None = None
        self._rows: list[dict[str, Any]] = []

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.folder.parent.name

    @property
    def version(self) -> str:
        """The run's version, such as ``version_0``."""
        return self.folder.name

    @property
    def save_dir(self) -> str:
        """Folder of all runs."""
        return str(self.folder.parent.parent)

    @property
    def log_dir(self) -> str:
        """The run's folder."""
        return str(self.folder)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's config.yaml has them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Take a row; it is written with others."""
        values = {tag: value.item() if hasattr(value, "item") else value for tag, value in metrics.items()}
        self._rows.append({**values, "step": step if step is not None else 0})
        if len(self._rows) >= _ROWS_HELD_BACK:
            self.save()

    @rank_zero_only
    def save(self) -> None:
        """Write the rows that are held back."""
        if not self._rows:
            return
        path = self.folder / METRICS
        if self._columns is None:
            self._columns = self._found(path)
        columns = sorted({*self._columns, *(tag for row in self._rows for tag in row)})
        if columns != self._columns:
            old = [dict(zip(self._columns, row, strict=False)) for row in whole_rows(path)[1:]]
            write_rows(path, [columns, *([row.get(tag, "") for tag in columns] for row in old)])
            self._columns = columns
        text = io.StringIO()
        csv.writer(text).writerows([row.get(tag, "") for tag in columns] for row in self._rows)
        # In one piece, so that a kill tears one line at most.
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, text.getvalue().encode())
        finally:
            os.close(descriptor)
        self._rows = []

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()

    @staticmethod
    def _found(path: Path) -> list[str]:
        """The columns of a table that is there already, made whole."""
        rows = whole_rows(path)
        if rows:
            write_rows(path, rows)
        return rows[0] if rows else []
