"""Training on label tokens: what an optimizer step learns from, and where that stops making sense."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from edit_lit.language_model import LanguageModel
from edit_lit.tasks.label_scores import label_scores
from edit_lit.tuning.divergence import StepWatch, all_finite
from edit_lit.tuning.step_totals import StepTotals
from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError

log = logging.getLogger(__name__)

OnDivergence = Literal["stop", "continue"]

_REMEDY = "Lower the learning rate, or load with dtype float32 and set trainer.precision to bf16-mixed."


class TrainingSteps(L.LightningModule):
    """The training steps of a language model, whose loss is the mean over all label tokens of an optimizer step.

    Args:
        language_model: The model.
        on_divergence: Whether to ``stop`` or ``continue`` when the loss or a weight is no finite number any more.

    Attributes:
        diverged_at: The first optimizer step whose loss was not finite, or after which a weight was found not to be;
            none while all is well.

    Raises:
        ConfigError: If ``on_divergence`` is neither.
    """

    def __init__(self, language_model: LanguageModel, on_divergence: OnDivergence = "stop") -> None:
        if on_divergence not in ("stop", "continue"):
            raise ConfigError(f"model.on_divergence is {on_divergence!r}; use 'stop' or 'continue'.")
        super().__init__()
        self.language_model = language_model
        self.on_divergence = on_divergence
        self.diverged_at: int | None = None
        self._totals = StepTotals()
        self._watch = StepWatch()
        self._warned_of_empty_step = False
        self._shown: dict[str, Tensor] = {}

    @property
    def gave_up(self) -> bool:
        """Whether the training was ended because it diverged."""
        return self.diverged_at is not None and self.on_divergence == "stop"

    def setup(self, stage: str) -> None:
        """Begin a new account with each fit."""
        if stage == TrainerFn.FITTING:
            self.diverged_at = None
            self._watch, self._warned_of_empty_step, self._shown = StepWatch(), False, {}

    def on_fit_start(self) -> None:
        """Refuse to train weights that are no numbers.

        Raises:
            ConfigError: If there are such, or the checkpoint that is resumed is of a run that had diverged.
        """
        if self.on_divergence == "continue":
            return
        if self.diverged_at is not None:
            raise ConfigError(
                f"the checkpoint is of a run whose loss or weights were no numbers from step {self.diverged_at} on. "
                "Resume from an earlier one, or set model.on_divergence to continue."
            )
        if not all_finite(self.parameters()):
            raise ConfigError(
                "the model has weights that are NaN or infinite before the first step. Load another model, or make "
                "another edit."
            )

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Mean loss over label tokens; what is logged is that of the whole optimizer step."""
        parts = self.trainer.accumulate_grad_batches
        if batch_idx % parts == 0:  # where Lightning zeroes the gradient
            self._totals = StepTotals()
        nll, correct = label_scores(self.language_model, batch)
        self._totals.add(nll, correct)
        self._show("train_loss", self._totals.loss, self._totals.tokens, prog_bar=True)
        if len(correct) or "train_accuracy" in self._shown:
            self._show("train_accuracy", self._totals.accuracy, self._totals.examples)
        # Lightning divides by the number of parts, which knows nothing of their label tokens.
        return self._totals.to_learn(nll) * parts

    def _show(self, name: str, mean: Tensor, count: Tensor, prog_bar: bool = False) -> None:
        """Log a mean; one over nothing is no number, so that the last one stays."""
        self._shown[name] = torch.where(count > 0, mean, self._shown.get(name, mean))
        self.log(f"downstream/{name}", self._shown[name], prog_bar=prog_bar)

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The training loss of a batch, and which examples of this process were answered exactly."""
        nll, correct = label_scores(self.language_model, batch)
        totals = StepTotals()
        totals.add(nll, correct)
        return totals.to_learn(nll), correct

    def on_before_backward(self, loss: Tensor) -> None:
        """Turn the gradient of the earlier parts into their share of the mean over all label tokens so far."""
        rescale = self._totals.rescale
        if rescale is not None:
            for parameter in self.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(rescale)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Note on the device whether the step's loss is a finite number."""
        # A subclass with a training step of its own has none; its weights are looked at all the same.
        if not self._totals.empty:
            self._watch.note(self.trainer.global_step + 1, self._totals)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Look every so many steps whether the training still makes sense."""
        every: int = self.trainer.log_every_n_steps or 50  # type: ignore[attr-defined] # set by a connector
        if self.trainer.global_step % every == 0:
            self.look_for_divergence()

    def on_validation_start(self) -> None:
        """Look before a validation."""
        if self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking:
            self.look_for_divergence(weights=True)

    def on_train_epoch_end(self) -> None:
        """Look whether the training made sense to its last step."""
        self.look_for_divergence(weights=True)

    def look_for_divergence(self, weights: bool = False) -> int | None:
        """Read what the steps so far have noted; all processes must ask together.

        Where the loss or a weight is no finite number, a line says so once, and the training stops if it is to.

        Args:
            weights: Look at the weights that train as well. A bad one that no loss has met yet counts from this step.

        Returns:
            `diverged_at`, as it is now.
        """
        if self.diverged_at is not None:
            return self.diverged_at
        self.diverged_at, empty = self._watch.read()
        what = "the loss is"
        if self.diverged_at is None and weights and not all_finite(p for p in self.parameters() if p.requires_grad):
            self.diverged_at, what = self.trainer.global_step, "weights are"
        if self.diverged_at is not None:
            if distributed.rank() == 0:
                end = "so training stops. " if self.gave_up else "and training goes on. "
                log.error("%s no finite number from step %d on, %s%s", what, self.diverged_at, end, _REMEDY)
            if self.gave_up:
                stop_now(self.trainer)
        if empty is not None and not self._warned_of_empty_step:
            self._warned_of_empty_step = True
            warnings.warn(
                f"the batch of step {empty} holds no label token, so that nothing was learnt from it. Leave out texts "
                "without labels, or let them be longer.",
                stacklevel=2,
            )
        return self.diverged_at


def stop_now(trainer: L.Trainer) -> None:
    """End the training after this step, whatever least number of steps or epochs was asked for."""
    trainer.should_stop = True
    trainer.fit_loop.min_epochs = 0
    trainer.fit_loop.epoch_loop.min_steps = None
