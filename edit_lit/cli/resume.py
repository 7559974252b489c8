"""A run that is gone on with: its folder, its last checkpoint, its own edit."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from callbacks.run_checkpoint import OF_RUN
from edit_lit.drift.rows import FOLDER as DRIFT
from edit_lit.measures.answers import FOLDER as ANSWERS
from edit_lit.measures.outcome_files import FOLDER
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.files import write_atomically
from edit_lit.utilities.log_files import cut_logs, whole_rows
from edit_lit.utilities.run_files import CONFIG, DELTA, FINISHED, LAST, METRICS

_LIMITS = ("max_steps", "max_epochs", "max_time")


@dataclass(frozen=True)
class EarlierRun:
    """A run that is gone on with, or whose checkpoint is validated.

    Args:
        folder: Its folder, if the checkpoint lies in one.
        checkpoint: The checkpoint; none if the run was killed before it wrote one.
        step: Optimizer steps taken.
        edit: Hash of its edit; none if nothing was edited, or nothing is known yet.
        logs: How far its logs were written.
        started_in: The directory in which it was started, against which its config's relative paths are read.
    """

    folder: Path
    checkpoint: Path | None = None
    step: int = 0
    edit: str | None = None
    logs: Mapping[str, int] = field(default_factory=dict)
    started_in: str | None = None

    @classmethod
    def in_folder(cls, folder: Path) -> EarlierRun:
        """The run of a folder, at its last checkpoint.

        Raises:
            ConfigError: If the folder is none of a run, or the checkpoint is damaged.
        """
        if not (folder / CONFIG).is_file():
            raise ConfigError(
                f"there is no run in {folder}: it holds no {CONFIG}. Name a run's folder, such as runs/mine/version_0."
            )
        if (folder / LAST).exists():
            return cls.at(folder / LAST, folder)
        others = sorted((folder / LAST).parent.glob("*.ckpt"))
        if others:
            raise ConfigError(
                f"{folder} has no {LAST}, but other checkpoints. Start a run from one with --ckpt_path {others[-1]}."
            )
        return cls(folder)

    @classmethod
    def at(cls, checkpoint: Path, folder: Path | None = None) -> EarlierRun:
        """The run that wrote a checkpoint.

        Args:
            checkpoint: The file.
            folder: The run's folder; that in which the checkpoint lies if not given.

        Raises:
            ConfigError: If the file is no checkpoint.
        """
        if not checkpoint.is_file():
            raise ConfigError(f"ckpt_path is {checkpoint}, and there is no such file. Name a checkpoint, or 'last'.")
        try:
            # Mapped, so that of many gigabytes only what is asked for is read.
            stored = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
            step, edit, of_run = int(stored["global_step"]), stored.get("edit"), stored.get(OF_RUN, {})
        except Exception as error:  # torch tells of a damaged file in many ways
            raise ConfigError(
                f"{checkpoint} is no whole checkpoint ({type(error).__name__}). Name another one."
            ) from error
        if folder is None:
            near = (parent for parent in checkpoint.absolute().parents[:3] if (parent / CONFIG).is_file())
            folder = next(near, Path(of_run.get("folder", checkpoint.absolute().parent)))
        return cls(folder, checkpoint, step, edit, of_run.get("logs", {}), of_run.get("started_in"))

    @property
    def delta(self) -> Path | None:
        """The file of its edit, if there is one."""
        return self.folder / DELTA if (self.folder / DELTA).exists() else None

    def finished(self, limits: Mapping[str, Any]) -> bool:
        """Whether it ended by itself, at the limits of a trainer's options.

        Raises:
            ConfigError: If it did at others, and kept no checkpoint to go on from.
        """
        try:
            noted = json.loads((self.folder / FINISHED).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        if self.checkpoint is not None:
            return bool(noted == _ending(self.step, limits))
        if noted != _ending(noted.get("step"), limits):
            raise ConfigError(f"the run in {self.folder} has finished and kept no checkpoint. Start a new run instead.")
        return True

    @property
    def downstream(self) -> list[tuple[int, dict[str, float]]]:
        """What its table says of the downstream task up to the checkpoint, by step."""
        header, *rows = whole_rows(self.folder / METRICS)[: 1 + self.logs.get(METRICS, 0)] or [[]]
        named = [dict(zip(header, row, strict=False)) for row in rows]
        return [(int(row["step"]), scores) for row in named if (scores := _downstream_scores(row))]

    def elsewhere(self) -> str | None:
        """The directory that relative paths of its config are meant for, if that is not the present one."""
        return self.started_in if self.started_in not in (None, os.getcwd()) else None


def bring_back(folder: Path, earlier: EarlierRun | None) -> None:
    """Bring the files of a run back to where it is gone on with.

    Args:
        folder: The run's folder.
        earlier: From where; if that is no checkpoint of this folder, the run starts anew.
    """
    at_own = earlier is not None and earlier.checkpoint is not None and earlier.checkpoint.parent.parent == folder
    cut_logs(folder, earlier.logs if earlier is not None and at_own else {})
    if not at_own:
        for records in (FOLDER, ANSWERS, DRIFT):
            shutil.rmtree(folder / records, ignore_errors=True)


def note_end(folder: Path, step: int, limits: Mapping[str, Any]) -> None:
    """Note that a run ended by itself, with all that is done at its end.

    Args:
        folder: The run's folder.
        step: Optimizer steps taken.
        limits: The trainer's options.
    """
    text = json.dumps(_ending(step, limits))
    write_atomically(folder / FINISHED, lambda path: path.write_text(text, encoding="utf-8"))


def _ending(step: int, limits: Mapping[str, Any]) -> dict[str, Any]:
    return {"step": step} | {name: _plain(limits.get(name)) for name in _LIMITS}


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, type(None))) else str(value)


def _downstream_scores(row: Mapping[str, str]) -> dict[str, float]:
    return {tag: float(value) for tag, value in row.items() if tag.startswith("downstream/") and value}
