"""What every guard is: it is told what was edited, and acts once for each optimizer step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from edit_lit.deltas import Delta
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel


class Guard(ABC):
    """Keeps edits while the edited model is fine-tuned.

    In a training loop of one's own::

        guard = Hold()
        guard.setup(language_model, delta, requests)  # right after the edit, with the parameters that train marked so
        guard.attach(optimizer)

    Attributes:
        step: Optimizer steps since the edit. :meth:`attach` counts them; set it where a training is gone on with.
    """

    step: int = 0

    @abstractmethod
    def setup(self, language_model: LanguageModel, delta: Delta | None, requests: Sequence[EditRequest]) -> None:
        """Read what is to be kept from the model right after the edit; called again, it starts anew.

        Args:
            language_model: The model with the Delta applied, before any training step, or as it was then.
            delta: The edit; none in a control, which edits nothing and shows what the guard costs.
            requests: The edited facts; in a control those that an edit would be of.

        Raises:
            ConfigError: If there is nothing that it could keep, as where what it protects does not train.
        """

    @abstractmethod
    def describe(self) -> str:
        """What it keeps, in one line for the log; behind :meth:`setup`."""

    @property
    def seen(self) -> frozenset[str]:
        """The facts whose answers it learns from, by :func:`~edit_lit.facts.request.fact_hash`, once it is set up.

        Retention is told apart for these and the others. Empty if it treats all edited facts alike.
        """
        return frozenset()

    def before_step(self) -> None:  # noqa: B027
        """Change the gradients of an optimizer step, before they are clipped."""

    def after_step(self) -> None:  # noqa: B027
        """Change the weights right behind an optimizer step."""

    def measures(self) -> Mapping[str, Tensor]:
        """Whether it does what it claims: numbers of the last step by name, each a tensor without dimensions."""
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint must hold besides what :meth:`setup` reads once more, by name; usually nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Go on from where :meth:`state_dict` was asked; behind :meth:`setup`."""

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Act at each step of any optimizer of torch's from now on.

        Where gradients are clipped, call :meth:`before_step` before that: in front of the step itself it is late.
        """
        optimizer.register_step_pre_hook(self._in_front)
        optimizer.register_step_post_hook(self._behind)

    def _in_front(self, *_: Any) -> None:
        self.before_step()

    def _behind(self, *_: Any) -> None:
        self.after_step()
        self.step += 1
