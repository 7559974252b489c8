"""``cycles.json``: the cycles of a series, of which each edits facts of its own and is a run of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edit_lit.utilities.json_files import read_json, write_json

FILE = "cycles.json"


@dataclass(frozen=True)
class Cycle:
    """One cycle: which facts it edits, and with which seed.

    Args:
        number: Its number, from 0.
        positions: Positions of its facts among ``data.edits``.
        facts: What they are called, such as ``Oslo: north → south``.
        ids: Their ids.
        seed: Seed of the order of its training examples and of all else that training draws.
    """

    number: int
    positions: Sequence[int]
    facts: Sequence[str]
    ids: Sequence[str]
    seed: int

    @property
    def folder(self) -> str:
        """Its run's folder within that of the series."""
        return f"cycle_{self.number:03d}"

    @property
    def name(self) -> str:
        """How messages call it."""
        more = f" and {len(self.facts) - 1} more" if len(self.facts) > 1 else ""
        return f"cycle {self.number} ({self.facts[0]}{more})"


@dataclass(frozen=True)
class SeriesRecord:
    """The cycles of a series.

    Args:
        edits: Hash of all its facts.
        cycles: The cycles, in order.
    """

    edits: str
    cycles: Sequence[Cycle]

    @classmethod
    def read(cls, folder: Path) -> SeriesRecord | None:
        """The record in a series' folder; none if there is no file.

        Raises:
            ConfigError: If the file is damaged.
        """
        remedy = "Report its cycles one by one, or run the series again."
        return read_json(folder / FILE, cls._from, "record of a series", remedy)

    @classmethod
    def _from(cls, stored: Mapping[str, Any]) -> SeriesRecord:
        return cls(stored["edits"], [Cycle(**cycle) for cycle in stored["cycles"]])

    def write(self, folder: Path) -> None:
        """Write the record into a series' folder, whole or not at all."""
        write_json(folder / FILE, asdict(self))
