"""A callback of one's own: how large the edited matrices are, through training."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch

from edit_lit.fine_tuner import FineTuner
from edit_lit.language_model.module_tree import projection_weight
from edit_lit.utilities.errors import ConfigError


class EditedNorms(L.Callback):
    """Logs the Frobenius norm of each edited layer's output projection, at the first step and every N steps.

    Args:
        every_n_steps: Optimizer steps between two points.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        if every_n_steps < 1:
            raise ConfigError(f"every_n_steps is {every_n_steps}; it must be at least 1.")
        self.every_n_steps = every_n_steps
        self.last_step = -1

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the norms before the first step."""
        self._log_once(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the norms if it is time; gradient accumulation comes here several times for each optimizer step."""
        if trainer.global_step % self.every_n_steps == 0:
            self._log_once(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The last step that was logged, so that a resumed run does not log it twice."""
        return {"last_step": self.last_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on behind the last step that was logged."""
        self.last_step = state_dict["last_step"]

    @torch.no_grad()
    def _log_once(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step == self.last_step:
            return
        assert isinstance(pl_module, FineTuner)
        language_model, self.last_step = pl_module.language_model, trainer.global_step
        norms = {
            f"norms/layer_{layer}": float(projection_weight(language_model.output_projection(layer)).norm())
            for layer in pl_module.edited_layers
        }
        # With the step named: `self.log` drops points that miss the trainer's `log_every_n_steps`.
        for logger in trainer.loggers:
            logger.log_metrics(norms, step=trainer.global_step)
