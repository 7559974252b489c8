"""How far a job of a sweep has come, as its folder says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from edit_lit.reports.run_record import RunRecord, State
from edit_lit.reports.series_record import FILE as SERIES
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.files import write_atomically
from edit_lit.utilities.log_files import whole_rows
from edit_lit.utilities.run_files import FINISHED, METRICS, newest_run

_FILE = "status.json"


class Stage(StrEnum):
    """What becomes of a job."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    RUNNING = "running"
    WAITING = "waiting"
    INTERRUPTED = "interrupted"
    FAILED = "failed"

    @property
    def is_done(self) -> bool:
        """Whether there is a result; a run that diverged is one."""
        return self in (Stage.FINISHED, Stage.DIVERGED)


@dataclass(frozen=True)
class Status:
    """What a job's process writes of itself.

    Args:
        stage: What has become of it.
        attempts: How often it was started.
        seconds: Wall time of all attempts that ended.
        host: The machine that it runs on, or ran on last.
        error: Why it failed, in one line.
    """

    stage: Stage = Stage.WAITING
    attempts: int = 0
    seconds: float = 0.0
    host: str = ""
    error: str | None = None

    def write(self, folder: Path) -> None:
        """Write it into a job's folder, whole or not at all."""
        text = json.dumps(asdict(self))
        write_atomically(folder / _FILE, lambda path: path.write_text(text, encoding="utf-8"))

    @classmethod
    def read(cls, folder: Path) -> Status:
        """The status in a job's folder; that of one that waits if there is none, or a damaged one."""
        try:
            stored: dict[str, Any] = json.loads((folder / _FILE).read_text(encoding="utf-8"))
            return cls(**{**stored, "stage": Stage(stored["stage"])})
        except (OSError, ValueError, KeyError, TypeError):
            return cls()


def trial_status(folder: Path, driven: bool) -> Status:
    """How far a trial has come.

    What its run says counts: one that finished is done, whatever was killed afterwards.

    Args:
        folder: The trial's folder.
        driven: Whether the sweep is being carried out; otherwise nothing of it runs.
    """
    status = Status.read(folder)
    done = _stage_of_run(newest_run(folder))
    if done is not None:
        return replace(status, stage=done, error=None)
    if status.stage.is_done:
        return replace(status, stage=Stage.WAITING)  # Its run has been removed.
    if status.stage is Stage.RUNNING and not driven:
        return replace(status, stage=Stage.INTERRUPTED)
    return status


def progress_of(folder: Path) -> tuple[int, int | None]:
    """The last step that a trial's run has logged, and its last one if that is known; of a series, cycles."""
    run = newest_run(folder)
    if run is None:
        return 0, None
    header, *rows = whole_rows(run / METRICS) or [[]]
    steps = [row[header.index("step")] for row in rows[-1:]] if "step" in header else []
    try:
        record = RunRecord.read(run)
    except ConfigError:
        record = None
    if record is None:
        return int(steps[0]) if steps else 0, None
    return int(steps[0]) if steps else record.last.step, record.last.steps_planned


def _stage_of_run(run: Path | None) -> Stage | None:
    """What the run itself says, if it has come to an end of its own."""
    if run is None:
        return None
    try:
        record = RunRecord.read(run)
    except ConfigError:
        return None
    if record is not None and record.last.state is State.DIVERGED:
        return Stage.DIVERGED
    finished = record is not None and record.last.state is State.FINISHED
    # Behind a run's record comes its report; a series writes its own last of all.
    whole = (run / FINISHED).exists() or (run / SERIES).exists()
    return Stage.FINISHED if finished and whole else None


def count_stages(statuses: Mapping[str, Status]) -> dict[Stage, int]:
    """How many jobs are at each stage; stages without any are left out."""
    counts = {stage: sum(status.stage is stage for status in statuses.values()) for stage in Stage}
    return {stage: count for stage, count in counts.items() if count}
