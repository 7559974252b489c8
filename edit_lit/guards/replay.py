"""Replay: a few of the edited facts are trained on in each step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from edit_lit.deltas import Delta
from edit_lit.facts.request import EditRequest, fact_hash
from edit_lit.guards.fact_gradient import FactGradient, rows_of, share_of, target_loss
from edit_lit.guards.guard import Guard
from edit_lit.guards.kept_distributions import KeptDistributions
from edit_lit.language_model import LanguageModel
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


class Replay(Guard):
    """Adds a loss on some of the edited facts to each optimizer step.

    With ``kl`` it is the Kullback-Leibler divergence from what the edited model answered right after the edit to what
    it answers now, at the target's tokens: dark experience replay (Buzzega et al., arXiv 2004.07211) in a form that
    knows no scale of logits. With ``cross_entropy`` it is the loss of the new target.

    It trains on what retention measures, so it replays only half of the facts unless told otherwise: those that are
    not replayed, and paraphrases, say what it is worth. Its gradient is computed outside of autocast and added right
    before clipping.

    Args:
        share: The share of the edited facts that is replayed.
        batch_size: Prompts in each optimizer step, all processes together.
        weight: Weight of the replayed loss beside the task's.
        loss: ``kl`` or ``cross_entropy``.
        paraphrases: So many paraphrases of each fact are replayed beside its own prompt.
        top: For ``kl``: so many of the likeliest tokens are kept one by one, and the others as one.
        seed: Seed of which facts are replayed, and in what order.
    """

    def __init__(
        self,
        share: float = 0.5,
        batch_size: int = 2,
        weight: float = 0.1,
        loss: Literal["kl", "cross_entropy"] = "kl",
        paraphrases: int = 0,
        top: int = 64,
        seed: int = 0,
    ) -> None:
        check_number("guards.use.share", share, above=0, most=1)
        check_number("guards.use.batch_size", batch_size, least=1)
        check_number("guards.use.weight", weight, above=0)
        check_number("guards.use.paraphrases", paraphrases, least=0)
        check_number("guards.use.top", top, least=1)
        if loss not in ("kl", "cross_entropy"):
            raise ConfigError(f"guards.use.loss is {loss!r}; use 'kl' or 'cross_entropy'.")
        self.share = share
        self.batch_size = batch_size
        self.weight = weight
        self.loss = loss
        self.paraphrases = paraphrases
        self.top = top
        self.seed = seed
        self._facts: list[EditRequest] = []
        self._of = 0
        self._gradient: FactGradient | None = None
        self._last = torch.tensor(math.nan)

    def setup(self, language_model: LanguageModel, delta: Delta | None, requests: Sequence[EditRequest]) -> None:
        """Choose the facts, and keep what the edited model answers to them."""
        self._facts, self._of = share_of(requests, self.share, self.seed), len(requests)
        rows = rows_of(language_model, self._facts, self.paraphrases)
        loss = target_loss(language_model, rows)
        if self.loss == "kl":
            loss = KeptDistributions(language_model, rows, self.top).divergence
        self._gradient = FactGradient(language_model, len(rows), loss, self.batch_size, self.seed)
        self._last = torch.tensor(math.nan)

    @property
    def seen(self) -> frozenset[str]:
        """The chosen facts."""
        return frozenset(map(fact_hash, self._facts))

    def before_step(self) -> None:
        """Add the gradient of the replayed loss."""
        assert self._gradient is not None, "call setup first"
        self._last, gradients = self._gradient.at(self.step)
        for parameter, gradient in zip(self._gradient.parameters, gradients, strict=True):
            if parameter.grad is None:
                parameter.grad = self.weight * gradient
            else:
                parameter.grad.add_(gradient, alpha=self.weight)

    def describe(self) -> str:
        """How many facts are replayed, and how many prompts in a step."""
        assert self._gradient is not None, "call setup first"
        return (
            f"Replay trains on {len(self._facts)} of {self._of} edited facts, {self._gradient.batch_size} of "
            f"{self._gradient.rows} prompts in each step"
        )

    def measures(self) -> Mapping[str, Tensor]:
        """The replayed loss of the last step, in nats per token."""
        return {"loss": self._last}
