"""A source of facts of one's own: a tab-separated file without a header."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from edit_lit.errors import ConfigError
from edit_lit.facts import EditRequest, FactSource


class TabbedFacts(FactSource):
    """One fact a line: subject, prompt with one ``{}``, new object, old object.

    Args:
        path: The file.
        limit: How many requests to keep; all of them if not given.
        seed: Shuffle the source with this seed; keep its order if not given.
        skip: How many requests to drop from the front.
        indices: Positions in the source to take, in this order, instead of a shuffled choice.
    """

    def __init__(
        self,
        path: str,
        limit: int | None = None,
        seed: int | None = None,
        skip: int = 0,
        indices: Sequence[int] | None = None,
    ) -> None:
        super().__init__(limit, seed, skip, indices)
        if not Path(path).is_file():
            raise ConfigError(f"path {path!r} is not a file. Name a tab-separated file of facts.")
        self.path = path

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
