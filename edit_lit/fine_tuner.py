"""The LightningModule that fine-tunes a language model."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
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

from edit_lit.deltas import Delta, ModelStates
from edit_lit.language_model import LanguageModel
from edit_lit.run_folder import run_folder
from edit_lit.training_checks import HALF_PRECISION, check_optimizer, check_strategy, check_trainer
from edit_lit.training_steps import OnDivergence, TrainingSteps
from edit_lit.tuning.checkpoints import check_checkpoint, random_state_of
from edit_lit.tuning.peft import PeftTuning
from edit_lit.tuning.tuning import FullTuning, Tuning, describe_trainable, half_precision_trainable
from edit_lit.tuning.way_back import WayBack
from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.random_state import random_state, set_random_state
from edit_lit.utilities.seeds import global_seed
from edit_lit.validation_steps import ValidationSteps

log = logging.getLogger(__name__)


class FineTuner(TrainingSteps, ValidationSteps):
    """Fine-tunes a language model on a task's label tokens.

    The loss is the mean over all label tokens of an optimizer step, over all processes and all parts of an accumulated
    gradient, so that splitting a batch changes nothing.

    Args:
        language_model: The model.
        tuning: Which parameters train.
        optimizer: Made for the trainable parameters only.
        lr_scheduler: Stepped after each optimizer step; constant learning rate if not given.
        gradient_checkpointing: Recompute activations in the backward pass, to save memory.
        export: After fitting, write the model in Hugging Face's format to ``model/`` in the run's folder.
        merge_adapter: Export with an adapter merged into the weights, instead of the adapter alone.
        on_divergence: ``stop`` ends the training soon after the loss or a weight is no finite number any more;
            ``continue`` goes on. Either way it is told where that began.
        seed: Seed of what training draws, such as dropout; ``seed_everything``'s if not given.

    Attributes:
        configured: Whether the model has been prepared for training, and perhaps trained.
        trained: Whether a training has begun, so that the weights may no longer be those it starts from.
        resettable: Set it before the first fit to be able to :meth:`reset` what that does; it costs a copy of the
            weights that train, on the CPU.
        keeps_states: Set it before the first fit to have `states` from the edit on; it costs a copy of the weights that
            train, on the CPU.
        states: The model's states, unedited, edited and as it is now; none unless they are kept.
        diverged_at: The first optimizer step whose loss was not finite, or after which a weight was found not to be;
            none while all is well. It is looked for every ``trainer.log_every_n_steps``, before each validation and
            checkpoint, and at the end of each epoch.
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
        on_divergence: OnDivergence = "stop",
        seed: int | None = None,
    ) -> None:
        super().__init__(language_model, on_divergence)
        self.tuning = tuning
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.gradient_checkpointing = gradient_checkpointing
        self.export = export
        self.merge_adapter = merge_adapter
        self.seed = seed
        self.configured = False
        self.trained = False
        self.resettable = self.keeps_states = False
        self.states: ModelStates | None = None
        self._way_back: WayBack | None = None
        self._delta: Delta | None = None
        self._edited = False
        self._control_layers: tuple[int, ...] = ()
        self._resumed_random_state: dict[str, Tensor] | None = None
        # Checkpoints hold what trains; the rest comes from the model's own files and the Delta.
        self.strict_loading = False

    @property
    def delta(self) -> Delta | None:
        """The edit that was handed over; none in a run that edits nothing."""
        return self._delta

    @property
    def edited_layers(self) -> tuple[int, ...]:
        """The layers that the edit changes; in a control, those that an editor would change."""
        return self._delta.layers if self._delta is not None else self._control_layers

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

    def leave_unedited(self, layers: Sequence[int]) -> None:
        """Choose what trains as behind an edit of these layers, of which none is made: the run is its control.

        Args:
            layers: The layers that the editor would change; none if no editor is named.
        """
        self._control_layers = tuple(layers)

    def reset(self) -> None:
        """Undo training, adapter and edit: the model is bit for bit that from before the first fit, to be fitted anew.

        Raises:
            ConfigError: If the module was not `resettable` when it was fitted, or something else than its training has
                changed the edited weights.
        """
        if self._way_back is not None:
            self._way_back.go(self._delta)
        elif self.configured:
            raise ConfigError("this module kept no way back. Set resettable before its first fit, or load it anew.")
        self._way_back, self._delta, self.states, self._control_layers = None, None, None, ()
        self._edited = self.configured = self.trained = self.language_model.prepared = False

    def seeds(self) -> dict[str, int]:
        """The seeds in force, by option; none where nobody gave one."""
        given = {"model.seed": self.seed}
        if isinstance(self.tuning, PeftTuning):
            given["model.tuning.seed"] = self.tuning.seed
        seeds = {option: global_seed() if seed is None else seed for option, seed in given.items()}
        return {option: seed for option, seed in seeds.items() if seed is not None}

    def configure_callbacks(self) -> list[L.Callback]:
        """None; but Lightning asks for them first of all, in every process, so that bad options are refused here."""
        check_strategy(self.trainer)
        if self.trainer.state.fn == TrainerFn.FITTING:
            check_trainer(self.trainer)
            check_optimizer(self.optimizer, self.lr_scheduler)
        self.check_tuning(self.edited_layers if self._delta is not None else None)
        return []

    def check_tuning(self, edited_layers: Sequence[int] | None = None) -> None:
        """Refuse a tuning that would train nothing, before the time for an edit is spent.

        Args:
            edited_layers: The layers that the edit will change; what hangs on them is not looked at if not given.

        Raises:
            ConfigError: If nothing would train, or the model has been prepared by another FineTuner.
        """
        if self.configured:
            return
        if self.language_model.prepared:
            raise ConfigError(
                "the language model has been prepared for training by another FineTuner, and perhaps edited and "
                "trained. Go on with that one, or load the model anew."
            )
        self.tuning.check(self.language_model, edited_layers)

    def configure_model(self) -> None:
        """Edit, then choose what trains.

        Lightning calls this after the callbacks' ``setup``, before it wraps the model.
        """
        if self.resettable and not self.configured and self._way_back is None:
            self._way_back = WayBack(self.language_model)
        if self._delta is not None and not self._edited:
            self._delta.apply(self.language_model)
            self._edited = True
        if not self.configured:
            self._prepare()
        # Before a checkpoint's weights are loaded, and not once the training has changed them.
        if self.keeps_states and self.states is None and not self.trained:
            self.states = ModelStates(self.language_model, self._delta)
        # `from_pretrained` returns a model in evaluation mode, and Lightning leaves modes alone.
        self.language_model.train()

    def _prepare(self) -> None:
        self.tuning.apply(self.language_model, self.edited_layers)
        self.configured = self.language_model.prepared = True
        if self._way_back is not None:
            self._way_back.remember_weights()
        if self.gradient_checkpointing:
            self.language_model.model.gradient_checkpointing_enable({"use_reentrant": False})
        if distributed.rank() == 0:
            log.info(describe_trainable(self.language_model))
        if half_precision_trainable(self.language_model):
            warnings.warn(HALF_PRECISION, stacklevel=3)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over trainable parameters, and its schedule by steps."""
        optimizer = self.optimizer(parameter for parameter in self.parameters() if parameter.requires_grad)
        if self.lr_scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.lr_scheduler(optimizer), "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the trainable parameters, the edit by its hash, the random states, and where the run diverged."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: tensor for name, tensor in state.items() if name in self._trainable()}
        checkpoint["edit"] = self.delta.hash() if self.delta is not None else None
        checkpoint["random_states"] = distributed.from_all_processes(random_state(self.device))
        checkpoint["diverged_at"] = self.look_for_divergence(weights=True)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another edit or another tuning.

        Raises:
            ConfigError: If the checkpoint lacks something, or the edit or the trainable parameters differ.
        """
        edit = self.delta.hash() if self.delta is not None else None
        check_checkpoint(checkpoint, edit, self._trainable(), resume=self.trainer.state.fn == TrainerFn.FITTING)
        self.diverged_at = checkpoint.get("diverged_at")
        self._resumed_random_state = random_state_of(checkpoint)

    def _trainable(self) -> dict[str, Tensor]:
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def on_train_start(self) -> None:
        """Draw with the seed, or go on with the random numbers, such as dropout's, where the resumed run stopped."""
        self.trained = True
        if self._resumed_random_state is not None:
            set_random_state(self._resumed_random_state, self.device)
            self._resumed_random_state = None
        elif self.seed is not None:
            torch.manual_seed(self.seed)

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
