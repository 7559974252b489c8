"""Watching edits through fine-tuning with Lightning."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn

from callbacks.charts import charts_of_callbacks
from edit_lit.data_module import EditDataModule
from edit_lit.deltas import ModelStates
from edit_lit.facts.request import EditRequest
from edit_lit.fine_tuner import FineTuner, as_fine_tuner
from edit_lit.measures.answers import AnswersAt
from edit_lit.measures.curve import Point
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.retention import ProbeSteps, Retention
from edit_lit.measures.scores import Rule
from edit_lit.reports import tensorboard
from edit_lit.run_folder import run_folder
from edit_lit.utilities import distributed
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError

log = logging.getLogger(__name__)


class EditRetentionCallback(L.Callback):
    """Probes the edited and the intrinsic facts during training and logs the curves.

    The unedited model is probed once; the baseline is taken right before the first training step; then come
    every N steps and the last one. Raw outcomes go to ``retention.parquet`` in the run's folder, the questions' texts
    to ``questions.parquet``, scores to all loggers. List it after ``KnowledgeEdit``.

    Every score of the last probe can be monitored, such as
    ``EarlyStopping("retention/edited/exact", mode="max", stopping_threshold=…)`` or
    ``ModelCheckpoint(monitor="retention/edited/exact", mode="max")``, wherever they stand in the list of callbacks.
    They look after a validation, after an epoch or, with ``every_n_train_steps``, after a step, and find what was
    measured last. So let ``trainer.val_check_interval``, or ``every_n_train_steps``, be a multiple of
    ``every_n_steps``; else the value is that of an earlier step.

    Args:
        every_n_steps: Optimizer steps between probes.
        early: Probe at steps 1, 2, 4, 8, … as well, below ``every_n_steps``: decay is fastest at first.
        batch_tokens: Tokens in a probe's batch, padding included.
        answers: At which probes the model also writes, greedily, what it answers to the facts under study; their texts
            go to ``answers.parquet``.
        answer_tokens: Most tokens of such an answer; one that is cut off is marked.
    """

    def __init__(
        self,
        every_n_steps: int = 50,
        early: bool = False,
        batch_tokens: int = 8192,
        answers: Literal["never", "last", "every"] = "last",
        answer_tokens: int = 10,
    ) -> None:
        # Made again when the model is known; here it refuses what it cannot do before any is loaded.
        ProbeSteps(every_n_steps, early)
        check_number("retention.batch_tokens", batch_tokens, least=1)
        check_number("retention.answer_tokens", answer_tokens, least=1)
        self.every_n_steps = every_n_steps
        self.early = early
        self.batch_tokens = batch_tokens
        self.answers = AnswersAt(answers)
        self.answer_tokens = answer_tokens
        self.retention: Retention | None = None
        self._fit: tuple[L.Trainer, FineTuner, object, Path] | None = None
        self._checkpoint: str | Path | None = None
        self._earlier: dict[int, Point] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Ask the unedited model; the module applies the edit behind the callbacks' ``setup``.

        A trainer that fits the same module again goes on with its curve. Any other fit has a curve and records of its
        own.

        Raises:
            ConfigError: If the unedited model's answers are not numbers.
        """
        if stage != "fit":
            return
        fine_tuner = as_fine_tuner(pl_module)
        fit = (trainer, fine_tuner, getattr(trainer, "datamodule", None), run_folder(trainer))
        if self.retention is not None and fit == self._fit:
            return
        self._fit, delta = fit, fine_tuner.delta
        self.retention = self._retention(fine_tuner, *fit[2:])
        fine_tuner.language_model.to(trainer.strategy.root_device)
        if not fine_tuner.configured or fine_tuner.edit_pending:
            self.retention.before_edit()
        elif not fine_tuner.trained and (delta is None or delta.applied):
            with ModelStates(fine_tuner.language_model, delta).unedited():
                self.retention.before_edit()
        else:
            log.warning("the model has been edited or tuned already, so what it knew before that is not recorded")

    def _retention(self, fine_tuner: FineTuner, data: object, folder: Path) -> Retention:
        requests, intrinsic = _facts(data)
        edits = fine_tuner.delta is not None
        return Retention(
            fine_tuner.language_model,
            edited=requests if edits else (),
            unedited=() if edits else requests,
            intrinsic=intrinsic,
            folder=folder,
            every_n_steps=self.every_n_steps,
            early=self.early,
            batch_tokens=self.batch_tokens,
            answers=self.answers,
            answer_tokens=self.answer_tokens,
        )

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse to go on if the edit came after the questions to the unedited model.

        Raises:
            ConfigError: If ``KnowledgeEdit`` is listed behind this callback.
        """
        if as_fine_tuner(pl_module).delta is not None and Pool.UNEDITED in self._started.probes:
            raise ConfigError(
                "EditRetentionCallback is listed before KnowledgeEdit in the trainer's callbacks, so it took the facts "
                "for unedited ones. List KnowledgeEdit first."
            )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the baseline, or bring the curve of the run that is resumed to this run's loggers."""
        layout = tensorboard.layout(charts_of_callbacks(trainer, pl_module))
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and distributed.rank() == 0:
                logger.experiment.file_writer.add_summary(layout)
        for step, point in self._earlier.items():
            _to_loggers(trainer, point, step)
        self._earlier = {}
        if self._started.probes and not self._started.baseline:
            self._probe(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Probe if one is due; gradient accumulation calls this several times for each optimizer step."""
        step = trainer.global_step
        # Where the end is known beforehand, the last step is probed here, so that monitors still find it.
        last = 0 < trainer.estimated_stepping_batches <= step
        if self._started.is_due(step, last):
            self._probe(trainer, last)
            self._to_monitors(pl_module)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the last probe's scores to the callbacks that look behind a validation while fitting."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._to_monitors(pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the last probe's scores to the callbacks that look behind an epoch; Lightning calls those later."""
        self._to_monitors(pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Probe the last step of a fit that was stopped; later hooks find the model already moved off its device."""
        if self._started.is_due(trainer.global_step, last=True):
            self._probe(trainer, last=True)
        self._started.end(trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """The curve so far and what it is measured against, as primitives and tensors."""
        return self.retention.state_dict() if self.retention is not None else {}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note where the checkpoint is, for the records of the run are beside it; Lightning calls this first."""
        self._checkpoint = trainer.ckpt_path

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the curve where a checkpoint left it.

        Raises:
            ConfigError: If the checkpoint's curve is of other facts than those of this run, or the run's folder holds
                the records of another one.
        """
        # A validation of a checkpoint has no curve.
        if self.retention is not None and state_dict:
            self._earlier = self.retention.load_state_dict(state_dict, self._checkpoint)

    @property
    def _started(self) -> Retention:
        assert self.retention is not None
        return self.retention

    def _probe(self, trainer: L.Trainer, last: bool = False) -> None:
        # So that what a probe finds and what the training says of itself agree at this step.
        as_fine_tuner(trainer.lightning_module).look_for_divergence()
        _to_loggers(trainer, self._started.probe(trainer.global_step, last), trainer.global_step)

    def _to_monitors(self, pl_module: L.LightningModule) -> None:
        retention = self._started
        # What has no score any more, as after a divergence, is NaN: monitors stop there, where they fail if it is gone.
        scores = {tag: math.nan for point in retention.points.values() for tag in point} | retention.latest
        # The loggers have the point under its own step already. All processes measured the same, so that the largest
        # value is the value itself, where a mean would round.
        options: dict[str, Any] = {"logger": False, "reduce_fx": "max", "sync_dist": True, "batch_size": 1}
        pl_module.log_dict(scores, **options)
        pool = Pool.EDITED if Pool.EDITED in retention.probes else Pool.UNEDITED
        main = f"retention/{pool}/{Rule.EXACT}"
        if main in scores:
            pl_module.log("retention", scores[main], prog_bar=True, **options)


def _facts(data: object) -> tuple[list[EditRequest], list[EditRequest]]:
    """The facts to edit and those to leave alone; none without the data module that knows them."""
    return (data.requests, data.intrinsic_requests) if isinstance(data, EditDataModule) else ([], [])


def _to_loggers(trainer: L.Trainer, point: Point, step: int) -> None:
    for logger in trainer.loggers:
        framed = point | tensorboard.FRAME if isinstance(logger, TensorBoardLogger) else point
        logger.log_metrics(framed, step=step)
