"""What guards share that add a loss on some of the edited facts to the task's."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from edit_lit.deltas import Delta
from edit_lit.facts.request import EditRequest, fact_hash
from edit_lit.guards.fact_gradient import FactGradient, RowLoss, share_of
from edit_lit.guards.guard import Guard
from edit_lit.language_model import LanguageModel
from edit_lit.utilities.checks import check_number


class AddedLoss(Guard):
    """Adds the gradient of a loss on a few of the edited facts to that of each optimizer step.

    It is computed outside of autocast and added right before clipping. A subclass says what the loss is.

    Args:
        share: The share of the edited facts that it is of.
        batch_size: Prompts in each optimizer step, all processes together.
        weight: Weight of the loss beside the task's.
        paraphrases: So many paraphrases of each fact are taken beside its own prompt.
        seed: Seed of which facts, and in what order.
    """

    def __init__(self, share: float, batch_size: int, weight: float, paraphrases: int, seed: int) -> None:
        check_number("guards.use.share", share, above=0, most=1)
        check_number("guards.use.batch_size", batch_size, least=1)
        check_number("guards.use.weight", weight, above=0)
        check_number("guards.use.paraphrases", paraphrases, least=0)
        self.share = share
        self.batch_size = batch_size
        self.weight = weight
        self.paraphrases = paraphrases
        self.seed = seed
        self._facts: list[EditRequest] = []
        self._of = 0
        self._gradient: FactGradient | None = None
        self._last = torch.tensor(math.nan)

    @abstractmethod
    def row_loss(
        self, language_model: LanguageModel, delta: Delta | None, facts: Sequence[EditRequest]
    ) -> tuple[int, RowLoss]:
        """How many rows the chosen facts and their paraphrases make, and the loss of each, from the edited model."""

    def setup(self, language_model: LanguageModel, delta: Delta | None, requests: Sequence[EditRequest]) -> None:
        """Choose the facts, and keep what their loss needs of the edited model."""
        self._facts, self._of = share_of(requests, self.share, self.seed), len(requests)
        rows, loss = self.row_loss(language_model, delta, self._facts)
        self._gradient = FactGradient(language_model, rows, loss, self.batch_size, self.seed)
        self._last = torch.tensor(math.nan)

    @property
    def seen(self) -> frozenset[str]:
        """The chosen facts."""
        return frozenset(map(fact_hash, self._facts))

    def before_step(self) -> None:
        """Add the gradient of the loss."""
        assert self._gradient is not None, "call setup first"
        self._last, gradients = self._gradient.at(self.step)
        for parameter, gradient in zip(self._gradient.parameters, gradients, strict=True):
            if parameter.grad is None:
                parameter.grad = self.weight * gradient
            else:
                parameter.grad.add_(gradient, alpha=self.weight)

    @property
    def drawn(self) -> str:
        """How many facts it is of, and how many prompts in a step, for :meth:`describe`."""
        assert self._gradient is not None, "call setup first"
        return (
            f"{len(self._facts)} of {self._of} edited facts, {self._gradient.batch_size} of {self._gradient.rows} "
            "prompts in each step"
        )

    def measures(self) -> Mapping[str, Tensor]:
        """The loss of the last step."""
        return {"loss": self._last}
