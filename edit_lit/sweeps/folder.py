"""A sweep's folder: which trials there are, and where each one is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.json_files import read_json, write_json
from edit_lit.utilities.locks import exclusive, is_held

TRIALS = "trials.json"
_LOCK = ".lock"


@dataclass(frozen=True)
class PlannedTrial:
    """A trial that has its place.

    Args:
        address: A hash of all that its result depends on.
        labels: Its label on each axis.
        edit: The address of its edit; none if it edits nothing.
        statistics: The address of the corpus statistics that its edit needs; none without any.
    """

    address: str
    labels: Mapping[str, str]
    edit: str | None = None
    statistics: str | None = None

    def __str__(self) -> str:
        return ", ".join(f"{axis} {label}" for axis, label in self.labels.items())


@dataclass(frozen=True)
class SweepFolder:
    """The folder of a sweep.

    Args:
        path: Where it is.
    """

    path: Path

    def trial(self, address: str) -> Path:
        """Where a trial is kept: its config, its state, what it printed, and its runs."""
        return self.path / "trials" / address

    def edit(self, address: str) -> Path:
        """Where the making of an edit is kept."""
        return self.path / "edits" / address

    @contextmanager
    def drive(self) -> Iterator[None]:
        """Be the only one that carries out the sweep.

        Raises:
            ConfigError: If another process does.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(exclusive(self.path / _LOCK, patience=5))
            except TimeoutError as error:
                raise ConfigError(
                    f"the sweep in {self.path} is going on in another process. Look at it with --watch, or stop it."
                ) from error
            yield

    @property
    def driven(self) -> bool:
        """Whether a process carries out the sweep."""
        return is_held(self.path / _LOCK)


@dataclass(frozen=True)
class TrialList:
    """What a sweep's folder says of its trials.

    Args:
        name: The sweep's name.
        axes: The labels of each axis.
        replicates: The axes that repeat a measurement.
        trials: The trials.
    """

    name: str
    axes: Mapping[str, Sequence[str]]
    replicates: Sequence[str] = ()
    trials: Sequence[PlannedTrial] = field(default_factory=list)

    def write(self, folder: SweepFolder) -> None:
        """Write the list, whole or not at all."""
        trials = [asdict(trial) | {"folder": f"trials/{trial.address}"} for trial in self.trials]
        content = {"name": self.name, "axes": self.axes, "replicates": list(self.replicates), "trials": trials}
        write_json(folder.path / TRIALS, content)

    @classmethod
    def read(cls, folder: SweepFolder) -> TrialList | None:
        """The list in a folder; none if there is no file.

        Raises:
            ConfigError: If the file is damaged.
        """
        remedy = "Run the sweep again, which writes it anew."
        return read_json(folder.path / TRIALS, cls._from, "list of trials", remedy)

    @classmethod
    def _from(cls, stored: Mapping[str, Any]) -> TrialList:
        trials = [
            PlannedTrial(item["address"], item["labels"], item.get("edit"), item.get("statistics"))
            for item in stored["trials"]
        ]
        return cls(stored["name"], stored["axes"], stored["replicates"], trials)
