"""The run's own record: what it was made with, how far it came and how it ended."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from callbacks.knowledge_edit import KnowledgeEdit
from edit_lit.data_module import EditDataModule
from edit_lit.facts.request import EditRequest, requests_hash
from edit_lit.fine_tuner import FineTuner
from edit_lit.language_model.fingerprint import tokenizer_fingerprint
from edit_lit.reports.environment import commit, versions
from edit_lit.reports.run_record import RunRecord, Segment, State
from edit_lit.run_folder import run_folder
from edit_lit.tasks.task import ExampleSet, Task
from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.identity import class_name, content_hash
from edit_lit.utilities.seeds import global_seed

_SAMPLE = 64


class RunRecorder(L.Callback):
    """Keeps ``run.json`` in the run's folder.

    It tells what the run was made with: command line, versions, commit, seeds, devices, and the content of facts, task
    data and edit. It tells how far the run came: ``running`` from the start of the fit on, ``finished``,
    ``interrupted``, ``diverged`` or ``failed`` at its end. A run that was killed stays ``running``. Resumed in its
    folder, a run adds to its record.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._record: RunRecord | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the record, or go on with that of the run that is resumed in this folder."""
        self._record, self._folder = None, run_folder(trainer)
        if distributed.rank() == 0:
            self._write([*_earlier(self._folder), _segment(trainer, pl_module)])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note where training starts and where it is to end, which is known by now."""
        planned = trainer.estimated_stepping_batches
        self._update(
            start_step=trainer.global_step,
            step=trainer.global_step,
            steps_planned=int(planned) if planned != float("inf") else None,
        )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the end, so that a report that is made next finds it."""
        self._end(trainer, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the end of a fit in which nothing was left to train."""
        self._end(trainer, pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Note what ended the run."""
        # Lightning's SIGTERMException is a SystemExit.
        stopped = isinstance(exception, (KeyboardInterrupt, SystemExit))
        text = f"{type(exception).__name__}: {exception}".strip(": ")
        self._end(trainer, pl_module, State.INTERRUPTED if stopped else State.FAILED, text.split("\n")[0])

    def _end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        state: State = State.FINISHED,
        error: str | None = None,
    ) -> None:
        if self._record is None:
            return
        if self._record.last.state is not State.RUNNING:
            # What goes wrong behind the training, such as in an export, does not undo it.
            self._update(error=error or self._record.last.error)
            return
        diverged_at = pl_module.diverged_at if isinstance(pl_module, FineTuner) else None
        self._update(
            state=state if diverged_at is None else State.DIVERGED,
            step=trainer.global_step,
            stops=_stops(trainer),
            diverged_at=diverged_at,
            error=error,
            ended=_now(),
        )

    def _update(self, **changes: Any) -> None:
        if self._record is not None:
            self._write([*self._record.segments[:-1], replace(self._record.last, **changes)])

    def _write(self, segments: list[Segment]) -> None:
        assert self._folder is not None
        self._record = RunRecord(segments)
        try:
            self._record.write(self._folder)
        except OSError as error:
            warnings.warn(f"{self._folder / 'run.json'} could not be written ({error.strerror}).", stacklevel=3)


def _earlier(folder: Path) -> list[Segment]:
    try:
        record = RunRecord.read(folder)
    except ConfigError as error:
        warnings.warn(f"{error} It is begun anew.", stacklevel=3)
        return []
    return [*record.segments] if record is not None else []


def _segment(trainer: L.Trainer, pl_module: L.LightningModule) -> Segment:
    datamodule = getattr(trainer, "datamodule", None)
    return Segment(
        started=_now(),
        command=list(sys.argv),
        versions=versions(),
        commit=commit(),
        seeds=_seeds(datamodule, pl_module),
        hashes=_hashes(datamodule, pl_module),
        devices=_devices(trainer),
        precision=str(trainer.precision),
        resumed_from=str(trainer.ckpt_path) if trainer.ckpt_path is not None else None,
        control=_control(trainer, pl_module),
    )


def _control(trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any] | None:
    """Of which edit a run is the control; nothing if it edits."""
    if not isinstance(pl_module, FineTuner) or pl_module.delta is not None:
        return None
    found = (one.editor for one in _callbacks(trainer) if isinstance(one, KnowledgeEdit) and one.editor is not None)
    editor = next(found, None)
    return {"editor": type(editor).__name__ if editor is not None else None, "layers": list(pl_module.edited_layers)}


def _stops(trainer: L.Trainer) -> list[dict[str, Any]]:
    """The scores at which the run was to end, and whether it came there."""
    return [
        {
            "monitor": rule.monitor,
            "mode": rule.mode,
            "threshold": rule.stopping_threshold,
            "reached": rule.stopping_reason is EarlyStoppingReason.STOPPING_THRESHOLD,
        }
        for rule in _callbacks(trainer)
        if isinstance(rule, EarlyStopping) and rule.stopping_threshold is not None
    ]


def _callbacks(trainer: L.Trainer) -> list[L.Callback]:
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined] # set by a connector
    return callbacks


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _seeds(datamodule: object, pl_module: L.LightningModule) -> dict[str, int | None]:
    """The seed of the whole run, and those that are in force for its parts."""
    seeds: dict[str, int | None] = {"seed_everything": global_seed()}
    for part in (datamodule, pl_module):
        if isinstance(part, (EditDataModule, FineTuner)):
            seeds |= part.seeds()
    return seeds


def _hashes(datamodule: object, pl_module: L.LightningModule) -> dict[str, Any]:
    """What goes into the run, by content; the unedited model as the edit knows it, for that costs a pass over it."""
    hashes: dict[str, Any] = {}
    if isinstance(pl_module, FineTuner):
        delta = pl_module.delta
        hashes["tokenizer"] = tokenizer_fingerprint(pl_module.language_model.tokenizer)
        hashes["model"] = delta.provenance.model if delta is not None else None
        hashes["delta"] = delta.hash() if delta is not None else None
    if isinstance(datamodule, EditDataModule):
        hashes["edits"] = _facts_hash(datamodule.requests)
        hashes["intrinsic"] = _facts_hash(datamodule.intrinsic_requests)
        hashes["task"] = _task_data(datamodule.task)
    return hashes


def _facts_hash(requests: list[EditRequest]) -> str | None:
    return requests_hash(requests) if requests else None


def _task_data(task: Task) -> dict[str, Any]:
    """Class of the task, sizes of its parts, and a hash of examples at even distances in each."""
    data: dict[str, Any] = {"class": class_name(type(task))}
    for name, part in (("train", task.train_dataset()), ("val", task.val_dataset())):
        # What is streamed is of unknown number.
        if isinstance(part, ExampleSet):
            every = range(0, len(part), max(len(part) // _SAMPLE, 1))
            sample = [(list(part[index]["input_ids"]), list(part[index]["labels"])) for index in every]
            data |= {f"{name}_examples": len(part), f"{name}_sample": content_hash(sample)}
    return data


def _devices(trainer: L.Trainer) -> dict[str, Any]:
    device = trainer.strategy.root_device
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": kind, "processes": trainer.world_size, "nodes": trainer.num_nodes}
