"""Keeping a run so that it can be stopped, killed and gone on with."""

from __future__ import annotations

import os
import time
import warnings
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from callbacks.interruption import SIGNALS, Interrupted, Interruption
from callbacks.step_boundary import await_validation, ends_batch, put_behind_step, validation_is_due
from edit_lit.run_folder import run_folder
from edit_lit.training_steps import TrainingSteps
from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.log_files import mark_logs
from edit_lit.utilities.run_files import LAST

OF_RUN = "run"
"""What a checkpoint holds of its run under this key: how far its logs were written, and where it was started."""


class RunCheckpoint(L.Callback):
    """Keeps the run's last state in ``checkpoints/last.ckpt``, and stops the run when it is asked to.

    The file is written between two steps: everything of a step is in it, its probe, validation and logs included. A run
    that is resumed from it ends in the same bits as one that was never stopped. It replaces the one before. A run that
    is asked to stop, by Ctrl-C or SIGTERM, writes it behind the step that it is in; a second Ctrl-C stops at once.

    What is lost in a kill is at most ``every_minutes`` of work, whatever the size of the model; a save takes a
    fraction of that. A run that ends by itself keeps its last state, too.

    Args:
        every_n_steps: Optimizer steps between saves, if given.
        every_minutes: Minutes between saves; a run that is shorter saves at its end alone.
    """

    def __init__(self, every_n_steps: int | None = None, every_minutes: float = 10.0) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ConfigError(f"checkpoint.every_n_steps is {every_n_steps}; it must be at least 1, or null.")
        if not every_minutes > 0:
            raise ConfigError(f"checkpoint.every_minutes is {every_minutes}; it must be above 0.")
        self.every_n_steps = every_n_steps
        self.every_minutes = every_minutes
        self.enabled = True
        self.interruption = Interruption()
        self.saved_step: int | None = None
        self.earlier_scores: list[tuple[int, dict[str, float]]] = []
        self._saved_at = 0.0
        self._saving: dict[str, bool] | None = None

    def on_sanity_check_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listen to signals alone; Lightning has just begun to."""
        self.interruption.take_over()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count from here; the loggers of a run that goes on from another's checkpoint get that one's scores."""
        self.interruption.take_over()
        for step, scores in self.earlier_scores:
            for logger in trainer.loggers:
                logger.log_metrics(scores, step=step)
        self.earlier_scores = []
        self.saved_step = trainer.global_step if trainer.ckpt_path else None
        self._saved_at = time.monotonic()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save what the last step left, if it is time, and stop if asked to.

        Raises:
            Interrupted: If any process was asked to stop.
        """
        # Between the parts of an accumulated gradient there is nothing that could be gone on from.
        if batch_idx % trainer.accumulate_grad_batches:
            return
        self.interruption.deferred = True
        asked, due = self._agreed(trainer)
        if asked or due:
            self.save(trainer, epoch_over=batch_idx == 0, epoch_closed=False)
        if asked:
            raise Interrupted(asked)

    def save(self, trainer: L.Trainer, epoch_over: bool, epoch_closed: bool) -> None:
        """Write the checkpoint; all processes must call this together, between two steps.

        Args:
            trainer: The trainer.
            epoch_over: Whether the next batch is the first of an epoch.
            epoch_closed: Whether training has ended.
        """
        # A run that diverged is gone on with from before that, if at all.
        if not self.enabled or _has_diverged(trainer.lightning_module):
            return
        self._saving = {"epoch_over": epoch_over, "epoch_closed": epoch_closed}
        try:
            trainer.save_checkpoint(run_folder(trainer) / LAST, weights_only=False)
            self.saved_step = trainer.global_step
        except OSError as error:
            # A full disk must not cost the run; other processes would wait for this one in vain.
            if distributed.is_distributed():
                raise
            warnings.warn(f"the run could not be kept at step {trainer.global_step}: {error}", stacklevel=2)
        finally:
            self._saving = None
            self._saved_at = time.monotonic()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note how far the logs are, and let Lightning resume where the checkpoint stands."""
        folder = run_folder(trainer)
        for logger in trainer.loggers:
            logger.save()
            if isinstance(logger, TensorBoardLogger) and distributed.rank() == 0:
                logger.experiment.flush()
        marks = mark_logs(folder) if distributed.rank() == 0 else {}
        checkpoint[OF_RUN] = {"logs": marks, "folder": str(folder.absolute()), "started_in": os.getcwd()}
        loops = checkpoint["loops"]["fit_loop"]
        if self._saving is not None:
            put_behind_step(loops, **self._saving)
        elif ends_batch(loops) and validation_is_due(trainer):
            await_validation(loops)

    def _agreed(self, trainer: L.Trainer) -> tuple[int, bool]:
        """The signal that any process got, and whether the first one finds it time to save."""
        mine, due = self.interruption.asked or 0, self._is_due(trainer.global_step)
        if not distributed.is_distributed():
            return mine, due
        flags = [mine == signum for signum in SIGNALS] + [due and distributed.rank() == 0]
        counts = torch.tensor(flags, dtype=torch.int32, device=trainer.strategy.root_device)
        *asked, due = (distributed.sum_over_processes(counts) > 0).tolist()
        return next((signum for signum, got in zip(SIGNALS, asked, strict=True) if got), 0), due

    def _is_due(self, step: int) -> bool:
        if step == (self.saved_step or 0):
            return False
        by_steps = self.every_n_steps is not None and step % self.every_n_steps == 0
        return by_steps or time.monotonic() - self._saved_at >= 60 * self.every_minutes


def _has_diverged(module: L.LightningModule) -> bool:
    """Whether the weights are none to go on from; all processes must ask together."""
    if not isinstance(module, TrainingSteps):
        return False
    module.look_for_divergence(weights=True)
    return module.gave_up


class LastCheckpoint(L.Callback):
    """Keeps the end of a run; it comes behind all callbacks that have something to do there.

    Args:
        checkpoint: Keeps the rest of the run.
    """

    def __init__(self, checkpoint: RunCheckpoint) -> None:
        self.checkpoint = checkpoint

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save; from here on a signal loses nothing."""
        over = trainer.is_last_batch or trainer.fit_loop.batch_idx + 1 >= trainer.num_training_batches
        self.checkpoint.save(trainer, epoch_over=over, epoch_closed=True)
        self.checkpoint.interruption.deferred = False
