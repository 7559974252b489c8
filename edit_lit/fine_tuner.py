"""The LightningModule that fine-tunes a language model."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from peft import PeftModel
from torch import Tensor
from torchmetrics import MeanMetric

from edit_lit.deltas import Delta
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.scoring import token_hits, token_nll
from edit_lit.language_model.token_batch import TokenBatch
from edit_lit.run_folder import run_folder
from edit_lit.tasks.task import IGNORED, Task
from edit_lit.tuning.tuning import FullTuning, Tuning, describe_trainable, half_precision_trainable
from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError

log = logging.getLogger(__name__)


class FineTuner(L.LightningModule):
    """Fine-tunes a language model on a task's label tokens.

    The loss is the mean over all label tokens of a step, over all processes, so that splitting a batch over
    processes changes nothing.

    Args:
        language_model: The model.
        tuning: Which parameters train.
        optimizer: Made for the trainable parameters only.
        lr_scheduler: Stepped after each optimizer step; constant learning rate if not given.
        gradient_checkpointing: Recompute activations in the backward pass, to save memory.
        export: After fitting, write the model in Hugging Face's format to ``model/`` in the run's folder.
        merge_adapter: Export with an adapter merged into the weights, instead of the adapter alone.

    Attributes:
        configured: Whether the model has been prepared for training, and perhaps trained.
        trained: Whether a training has begun, so that the weights may no longer be those it starts from.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        tuning: Tuning = FullTuning(),
        optimizer: OptimizerCallable = lambda params: torch.optim.AdamW(params, lr=1e-4),
        lr_scheduler: LRSchedulerCallable | None = None,
        gradient_checkpointing: bool = False,
        export: bool = False,
        merge_adapter: bool = True,
    ) -> None:
        super().__init__()
        self.language_model = language_model
        self.tuning = tuning
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.gradient_checkpointing = gradient_checkpointing
        self.export = export
        self.merge_adapter = merge_adapter
        self.configured = False
        self.trained = False
        self._delta: Delta | None = None
        self._edited = False
        self._task: Task | None = None
        self._resumed_random_state: dict[str, Tensor] | None = None
        # Checkpoints hold what trains; the rest comes from the model's own files and the Delta.
        self.strict_loading = False
        self.val_loss = MeanMetric()
        self.val_accuracy = MeanMetric()

    @property
    def delta(self) -> Delta | None:
        """The edit that was handed over; none in a run that edits nothing."""
        return self._delta

    @property
    def edited_layers(self) -> tuple[int, ...]:
        """The layers that the edit changes."""
        return self._delta.layers if self._delta is not None else ()

    @property
    def edit_pending(self) -> bool:
        """Whether an edit has been handed over that is not applied yet."""
        return self._delta is not None and not self._edited

    def take_edit(self, delta: Delta) -> None:
        """Take an edit, to be applied right before the tuning; until then the model stays unedited.

        Args:
            delta: An edit of this module's language model.

        Raises:
            ConfigError: If there is an edit already.
        """
        if self._delta is not None:
            raise ConfigError("this model has an edit already. Merge the two Deltas, and hand over the result.")
        self._delta = delta

    def take_task(self, task: Task | None) -> None:
        """Take the task whose own scores are measured at each validation, beside loss, perplexity and accuracy.

        Args:
            task: The task, or none to measure no more.
        """
        self._task = task

    def configure_model(self) -> None:
        """Edit, then choose what trains.

        Lightning calls this after the callbacks' ``setup``, before it wraps the model.
        """
        if self._delta is not None and not self._edited:
            self._delta.apply(self.language_model)
            self._edited = True
        if self.configured:
            return
        self.tuning.apply(self.language_model, self.edited_layers)
        self.configured = True
        if self.gradient_checkpointing:
            self.language_model.model.gradient_checkpointing_enable({"use_reentrant": False})
        # `from_pretrained` returns a model in evaluation mode, and Lightning leaves modes alone.
        self.language_model.train()
        if distributed.rank() == 0:
            log.info(describe_trainable(self.language_model))
        if half_precision_trainable(self.language_model):
            warnings.warn(
                "trainable weights are kept in 16 bits, where small updates are lost to rounding. "
                "Load with dtype float32 and set trainer.precision to bf16-mixed.",
                stacklevel=2,
            )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over trainable parameters, and its schedule by steps."""
        optimizer = self.optimizer(parameter for parameter in self.parameters() if parameter.requires_grad)
        if self.lr_scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.lr_scheduler(optimizer), "interval": "step"},
        }

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Mean loss over label tokens."""
        loss, correct = self.loss(batch)
        self.log("downstream/train_loss", loss.detach(), prog_bar=True)
        if len(correct):
            self.log("downstream/train_accuracy", correct.float().mean())
        return loss

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The training loss and which examples of this process were answered exactly."""
        nll, correct = self._score(batch)
        # The gradient is averaged over processes, so each divides by the mean count of label tokens.
        count = distributed.sum_over_processes(torch.tensor(float(len(nll)), device=nll.device))
        return nll.sum() * distributed.world_size() / count, correct

    def _score(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """NLL of each label token, and for each example with an answer whether all its tokens are the argmax.

        Logits are computed at these tokens only.
        """
        ids, labels, answers = batch["input_ids"], batch["labels"], batch["answer_mask"]
        has_label, has_answer = labels[:, 1:] != IGNORED, answers[:, 1:]
        row, column = (has_label | has_answer).nonzero(as_tuple=True)
        rows = TokenBatch(ids, batch["attention_mask"], batch.get("position_ids"))
        logits = self.language_model.logits_at(rows, (row, column))
        labelled, answered = (has[row, column].nonzero()[:, 0] for has in (has_label, has_answer))
        scored = logits if len(labelled) == len(logits) else logits[labelled]
        nll = token_nll(scored, labels[:, 1:][row, column][labelled])
        missed = torch.zeros(len(ids), dtype=torch.long, device=ids.device)
        wrong = ~token_hits(logits.detach()[answered], ids[:, 1:][row, column][answered])
        missed.index_add_(0, row[answered], wrong.long())
        return nll, missed[has_answer.any(dim=1)] == 0

    def on_validation_epoch_start(self) -> None:
        """Start the means anew."""
        # Not at the end: a plain validation ends in inference mode, and what is made there cannot be added to in a fit.
        self.val_loss.reset()
        self.val_accuracy.reset()

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Collect loss and accuracy."""
        nll, correct = self._score(batch)
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
        if not accuracy.isnan():
            self.log("downstream/val_accuracy", accuracy, prog_bar=True, logger=to_loggers, sync_dist=True)
        # A sanity check over the whole validation part is the measurement before the first step.
        whole = not self.trainer.sanity_checking or self.trainer.num_sanity_val_steps == float("inf")
        if whole:
            scores |= self._scores_of_task()
        self.log_dict(scores, logger=to_loggers, sync_dist=True)
        if fitting and whole:
            known = scores if accuracy.isnan() else scores | {"downstream/val_accuracy": accuracy}
            for logger in self.loggers:
                logger.log_metrics({tag: float(value) for tag, value in known.items()}, self.trainer.global_step)

    def _scores_of_task(self) -> dict[str, Tensor]:
        own = self._task.score(self.language_model) if self._task is not None else {}
        return {f"downstream/val_{name}": torch.tensor(value, dtype=torch.float32) for name, value in own.items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the trainable parameters, and the edit by its hash."""
        trainable = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: tensor for name, tensor in state.items() if name in trainable}
        checkpoint["edit"] = self.delta.hash() if self.delta is not None else None
        checkpoint["random_states"] = distributed.from_all_processes(_random_state(self.device))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another edit or another tuning.

        Raises:
            ConfigError: If the edit or the set of trainable parameters differs.
        """
        mine = self.delta.hash() if self.delta is not None else None
        if checkpoint.get("edit") != mine:
            raise ConfigError(
                "the checkpoint was trained on another edit than this run applies. Resume with the editor, "
                "facts and model of that run."
            )
        trainable = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        if trainable != set(checkpoint["state_dict"]):
            odd = sorted(trainable ^ set(checkpoint["state_dict"]))[:3]
            raise ConfigError(
                f"the checkpoint's trained parameters are not this run's (such as {', '.join(odd)}). "
                "Resume with the same model.tuning."
            )

        states = checkpoint["random_states"]
        if len(states) == distributed.world_size():
            self._resumed_random_state = states[distributed.rank()]

    def on_train_start(self) -> None:
        """Go on with the random numbers, such as dropout's, where the resumed run stopped."""
        self.trained = True
        if self._resumed_random_state is not None:
            _set_random_state(self._resumed_random_state, self.device)
            self._resumed_random_state = None

    def on_fit_end(self) -> None:
        """Export the model, if asked to."""
        if self.export:
            self.save_pretrained(run_folder(self.trainer) / "model")

    @rank_zero_only
    def save_pretrained(self, folder: Path) -> None:
        """Write model and tokenizer in Hugging Face's format."""
        model = self.language_model.model
        if self.merge_adapter and isinstance(model, PeftModel):
            model = self.language_model.model = model.merge_and_unload()
        model.save_pretrained(folder)
        self.language_model.tokenizer.save_pretrained(folder)


def as_fine_tuner(module: L.LightningModule) -> FineTuner:
    """A module that must be a FineTuner.

    Raises:
        ConfigError: If it is another one.
    """
    if not isinstance(module, FineTuner):
        raise ConfigError(f"{type(module).__name__} is no FineTuner, whose model could be edited. Subclass FineTuner.")
    return module


def _random_state(device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.random.get_rng_state()}
    return state | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else state


def _set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    torch.random.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
