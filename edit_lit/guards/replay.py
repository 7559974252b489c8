"""Replay: a few of the edited facts are trained on in each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from edit_lit.deltas import Delta
from edit_lit.facts.request import EditRequest
from edit_lit.guards.added_loss import AddedLoss
from edit_lit.guards.fact_gradient import RowLoss, rows_of, target_loss
from edit_lit.guards.kept_distributions import KeptDistributions
from edit_lit.language_model import LanguageModel
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


class Replay(AddedLoss):
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
        super().__init__(share, batch_size, weight, paraphrases, seed)
        check_number("guards.use.top", top, least=1)
        if loss not in ("kl", "cross_entropy"):
            raise ConfigError(f"guards.use.loss is {loss!r}; use 'kl' or 'cross_entropy'.")
        self.loss = loss
        self.top = top

    def row_loss(
        self, language_model: LanguageModel, delta: Delta | None, facts: Sequence[EditRequest]
    ) -> tuple[int, RowLoss]:
        """Prompt and target of each fact, with what the edited model answers to them."""
        rows = rows_of(language_model, facts, self.paraphrases)
        if self.loss == "kl":
            return len(rows), KeptDistributions(language_model, rows, self.top).divergence
        return len(rows), target_loss(language_model, rows)

    def describe(self) -> str:
        """How many facts are replayed, and how many prompts in a step."""
        return f"Replay trains on {self.drawn}"

    def measures(self) -> Mapping[str, Tensor]:
        """The replayed loss of the last step, in nats per token."""
        return super().measures()
