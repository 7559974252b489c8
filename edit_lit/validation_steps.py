"""What a validation measures: loss, perplexity and accuracy on label tokens, and the task's own scores."""

from __future__ import annotations

import math
from collections.abc import Mapping

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torchmetrics import MeanMetric

from edit_lit.language_model import LanguageModel
from edit_lit.tasks.label_scores import label_scores
from edit_lit.tasks.task import Task


class ValidationSteps(L.LightningModule):
    """The validation steps of a language model; means are over the whole validation part and all processes."""

    language_model: LanguageModel

    def __init__(self) -> None:
        super().__init__()
        self._task: Task | None = None
        # By default it leaves NaN out, and what is left would look like the loss.
        self.val_loss = MeanMetric(nan_strategy="disable")
        self.val_accuracy = MeanMetric(nan_strategy="disable")

    def take_task(self, task: Task | None) -> None:
        """Take the task whose own scores are measured at each validation, beside loss, perplexity and accuracy.

        Args:
            task: The task, or none to measure no more.
        """
        self._task = task

    def on_validation_epoch_start(self) -> None:
        """Start the means anew."""
        # Not at the end: a plain validation ends in inference mode, and what is made there cannot be added to in a fit.
        self.val_loss.reset()
        self.val_accuracy.reset()

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Collect loss and accuracy."""
        nll, correct = label_scores(self.language_model, batch)
        self.val_loss.update(nll)
        self.val_accuracy.update(correct.float())

    def on_validation_epoch_end(self) -> None:
        """Log the means over the validation part."""
        loss, accuracy = self.val_loss.compute(), self.val_accuracy.compute()
        scores = {"downstream/val_loss": loss, "downstream/val_perplexity": loss.exp()}
        # While fitting, the loggers get the step at which the edits are probed as well, where Lightning would count
        # from 0; what it keeps then is for checkpoints and early stopping.
        fitting = self.trainer.state.fn == TrainerFn.FITTING
        to_loggers = bool(self.loggers) and not fitting
        # Without an answer in any process, which all of them see after the reduction, the mean is NaN.
        answered = not accuracy.isnan()
        # What a broken model answers is not wrong, it is no answer.
        meaning = 1.0 if loss.isfinite() else math.nan
        accuracy = accuracy * meaning
        if answered:
            self.log("downstream/val_accuracy", accuracy, prog_bar=True, logger=to_loggers, sync_dist=True)
        # A sanity check over the whole validation part is the measurement before the first step.
        whole = not self.trainer.sanity_checking or self.trainer.num_sanity_val_steps == float("inf")
        if whole:
            scores |= {tag: score * meaning for tag, score in self._scores_of_task().items()}
        self.log_dict(scores, logger=to_loggers, sync_dist=True)
        if fitting and whole:
            known = scores | {"downstream/val_accuracy": accuracy} if answered else scores
            for logger in self.loggers:
                logger.log_metrics({tag: float(value) for tag, value in known.items()}, self.trainer.global_step)

    def _scores_of_task(self) -> dict[str, Tensor]:
        own = self._task.score(self.language_model) if self._task is not None else {}
        return {f"downstream/val_{name}": torch.tensor(value, dtype=torch.float32) for name, value in own.items()}
