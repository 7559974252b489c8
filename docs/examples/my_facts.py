"""A source of facts of one's own: a tab-separated file without a header."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from edit_lit.facts import EditRequest, FactSource
from edit_lit.utilities.errors import ConfigError


@dataclass(eq=False)
class TabbedFacts(FactSource):
    """One fact a line: subject, prompt with one ``{}``, new object, old object.

    ``limit``, ``seed``, ``skip`` and ``indices`` are inherited, with their help.

    Args:
        path: The file.
    """

    path: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if not Path(self.path).is_file():
            raise ConfigError(f"path {self.path!r} is not a file. Name a tab-separated file of facts.")

    def read(self) -> list[EditRequest]:
        """One request for each line."""
        with open(self.path, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, delimiter="\t"))
        return [self._request(number, row) for number, row in enumerate(rows, 1)]

    def _request(self, number: int, row: list[str]) -> EditRequest:
        if len(row) != 4:
            raise ConfigError(f"{self.path}, line {number} has {len(row)} columns. Write subject, prompt, new, old.")
        subject, prompt, new, old = row
        return EditRequest(subject, prompt, target_new=new, target_true=old, id=str(number))
