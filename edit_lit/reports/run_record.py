"""``run.json``: what a run's folder says of the run itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from edit_lit.utilities.json_files import read_json, write_json

FILE = "run.json"


class State(StrEnum):
    """How far a run has come. One that was killed without notice stays ``running``."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    DIVERGED = "diverged"
    FAILED = "failed"


@dataclass(frozen=True)
class Segment:
    """One stretch of a run in one process group: from its start, or from where it was resumed, to its end.

    Args:
        started: Time of its start, ISO 8601 in UTC.
        command: The command line, as given.
        versions: Versions of Python, of this package and of the libraries behind the numbers.
        commit: ``hash`` and ``dirty`` of this package's checkout; none if it is no checkout.
        seeds: The seeds that were in force, by what they drive.
        hashes: Facts, task data, tokenizer, edit and unedited model by content; none where there is nothing.
        devices: Kind and number of devices, and number of processes.
        precision: Lightning's name for the precision.
        resumed_from: The checkpoint that it went on from, if any.
        start_step: Optimizer steps taken before it.
        step: Optimizer steps taken when it ended; before that, ``start_step``.
        steps_planned: The last step that it was to take, if that is known.
        control: In a run that edits nothing ``editor`` and ``layers``: the editor whose control it is, none if it names
            none, and the layers that this would change; nothing in a run that edits.
        stops: The rules by which it ends at a score, each with ``monitor``, ``mode``, ``threshold`` and whether that is
            ``reached``.
        state: How far it has come.
        diverged_at: The first optimizer step at which loss or weights were not finite.
        error: What ended it, in one line.
        ended: Time of its end.
    """

    started: str
    command: Sequence[str] = field(default_factory=list)
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: Mapping[str, Any] | None = None
    seeds: Mapping[str, int | None] = field(default_factory=dict)
    hashes: Mapping[str, Any] = field(default_factory=dict)
    devices: Mapping[str, Any] = field(default_factory=dict)
    precision: str = ""
    resumed_from: str | None = None
    start_step: int = 0
    step: int = 0
    steps_planned: int | None = None
    control: Mapping[str, Any] | None = None
    stops: Sequence[Mapping[str, Any]] = field(default_factory=list)
    state: State = State.RUNNING
    diverged_at: int | None = None
    error: str | None = None
    ended: str | None = None

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Segment:
        """What ``asdict`` gave; entries that this version does not know are left out."""
        known = {name: stored[name] for name in (item.name for item in fields(cls)) if name in stored}
        segment = cls(**{**known, "state": State(known["state"])})
        numbers = (segment.start_step, segment.step, segment.steps_planned or 0, segment.diverged_at or 0)
        if not all(isinstance(number, int) for number in numbers) or not isinstance(segment.seeds, Mapping):
            raise TypeError("a step is no whole number, or the seeds have no names")
        return segment

    @property
    def came_to_its_score(self) -> bool | None:
        """Whether it came to a score at which it was to stop; nothing if there was none."""
        return any(stop["reached"] for stop in self.stops) if self.stops else None


@dataclass(frozen=True)
class RunRecord:
    """A run's own record.

    Args:
        segments: Its stretches, the last one last; several if it was resumed in its folder.
    """

    segments: Sequence[Segment]

    @property
    def last(self) -> Segment:
        """The stretch that decides what became of the run."""
        return self.segments[-1]

    @classmethod
    def read(cls, folder: Path) -> RunRecord | None:
        """The record in a run's folder; none if there is no file.

        Raises:
            ConfigError: If the file is damaged.
        """
        remedy = "Delete it; whether the run finished is then unknown."
        return read_json(folder / FILE, cls._from, "record of a run", remedy)

    @classmethod
    def _from(cls, stored: Mapping[str, Any]) -> RunRecord:
        record = cls([Segment.from_dict(item) for item in stored["segments"]])
        record.last  # noqa: B018 - a record without one is damaged
        return record

    def write(self, folder: Path) -> None:
        """Write the record into a run's folder, whole or not at all."""
        last = self.last
        content = {"state": last.state, "step": last.step, "steps_planned": last.steps_planned}
        write_json(folder / FILE, content | {"segments": [asdict(segment) for segment in self.segments]}, indent=2)
