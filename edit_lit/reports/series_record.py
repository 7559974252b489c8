"""``cycles.json``: the cycles of a series, of which each edits facts of its own and is a run of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.files import write_atomically

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
        path = folder / FILE
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            return cls(stored["edits"], [Cycle(**cycle) for cycle in stored["cycles"]])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path} is no record of a series ({type(error).__name__}). Report its cycles one by one, or run the "
                "series again."
            ) from error

    def write(self, folder: Path) -> None:
        """Write the record into a series' folder, whole or not at all."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        write_atomically(folder / FILE, lambda path: path.write_text(text + "\n", encoding="utf-8"))
