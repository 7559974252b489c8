"""Keeping edits through a fine-tuning, with Lightning."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from edit_lit.data_module import EditDataModule
from edit_lit.fine_tuner import as_fine_tuner
from edit_lit.guards import Guard
from edit_lit.measures.seen_facts import write_seen
from edit_lit.run_folder import run_folder
from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError

log = logging.getLogger(__name__)


class GuardCallback(L.Callback):
    """Lets guards keep the edits while the model is fine-tuned.

    They read what they keep from the model right after the edit, also in a run that is gone on with, change gradients
    before they are clipped, and weights right behind each optimizer step. Loggers get what each says of itself under
    ``guard/``, every ``trainer.log_every_n_steps``. List it behind ``KnowledgeEdit``.

    In a control, which names an editor and does not apply its edit, they act as well, to show what they cost.

    Args:
        use: The guards, none if not given; on the command line ``--guards.use+=Hold``. With any of them the weights
            that train are copied once, to the CPU.
    """

    def __init__(self, use: Sequence[Guard] | None = None) -> None:
        self.use = list(use or ())
        self._handles: list[RemovableHandle] = []
        self._last_step = -1
        self._states: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        """What the guards cannot read once more from the model right after the edit; nothing if there is none."""
        states = [{"guard": type(guard).__name__, "state": guard.state_dict()} for guard in self.use]
        return {"states": states} if any(one["state"] for one in states) else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep it for the guards until they are set up."""
        self._states = state_dict.get("states", [])

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Have the module remember the weights right after the edit.

        Raises:
            ConfigError: If there are guards and no edit that they could keep.
        """
        if stage != "fit" or not self.use:
            return
        fine_tuner = as_fine_tuner(pl_module)
        if fine_tuner.delta is None and not fine_tuner.edited_layers:
            raise ConfigError(
                f"guards.use names {type(self.use[0]).__name__}, but the run edits nothing to keep. Leave it "
                "out, or name an editor."
            )
        if fine_tuner.trained and fine_tuner.states is None:
            raise ConfigError(
                "guards.use is given, but the model has been trained already and did not keep what it was right after "
                "the edit. Give it in its first fit."
            )
        fine_tuner.keeps_states = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Set the guards up on the model as the edit left it, and have them act from the next step on."""
        self._last_step = trainer.global_step
        if not self.use:
            return
        fine_tuner = as_fine_tuner(pl_module)
        states, data = fine_tuner.states, getattr(trainer, "datamodule", None)
        assert states is not None
        requests = data.requests if isinstance(data, EditDataModule) else []
        for guard, state in zip(self.use, self._take_states(), strict=True):
            with states.edited():
                guard.setup(fine_tuner.language_model, states.delta, requests)
            guard.load_state_dict(state)
            if distributed.rank() == 0:
                log.info(guard.describe())
        folder = run_folder(trainer)  # all processes ask, since one tells the others
        if distributed.rank() == 0:
            write_seen(folder, frozenset().union(*(guard.seen for guard in self.use)))
        self._handles = [optimizer.register_step_post_hook(self._behind_step) for optimizer in trainer.optimizers]

    def _take_states(self) -> list[dict[str, Tensor]]:
        """The state of each guard in the checkpoint that is gone on from; empty without one, or where it has none.

        Raises:
            ConfigError: If it is of other guards.
        """
        kept, self._states = self._states, []
        names = [type(guard).__name__ for guard in self.use]
        if kept and [one["guard"] for one in kept] != names:
            raise ConfigError(
                f"the checkpoint is of a run with the guards {', '.join(one['guard'] for one in kept)}, but guards.use "
                f"names {', '.join(names)}. Name the same, or start from the model that the run wrote."
            )
        return [one["state"] for one in kept] or [{} for _ in names]

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Let the guards change the gradients; Lightning clips them behind this."""
        for guard in self.use:
            guard.step = trainer.global_step
            guard.before_step()

    def _behind_step(self, *_: Any) -> None:
        for guard in self.use:
            guard.after_step()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log what the guards say of the last step; gradient accumulation calls this several times for each."""
        step = trainer.global_step
        every: int = trainer.log_every_n_steps or 50  # type: ignore[attr-defined] # set by a connector
        if not self.use or step == self._last_step or step % every:
            return
        self._last_step = step
        point = {
            f"guard/{tag}/{name}": float(value)
            for tag, guard in zip(_tags(self.use), self.use, strict=True)
            for name, value in guard.measures().items()
        }
        for logger in trainer.loggers:
            logger.log_metrics(point, step=step)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let go of the optimizers."""
        self._let_go()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Let go of the optimizers."""
        self._let_go()

    def _let_go(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


def _tags(guards: Sequence[Guard]) -> list[str]:
    """The guards' classes, with a number behind the second of a class and further ones."""
    kinds = [type(guard).__name__ for guard in guards]
    before = [kinds[:place].count(kind) for place, kind in enumerate(kinds)]
    return [f"{kind}_{count + 1}" if count else kind for kind, count in zip(kinds, before, strict=True)]
