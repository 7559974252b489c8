"""AGEM: no step may go against the edited facts, as far as its gradient says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from edit_lit.deltas import Delta
from edit_lit.facts.request import EditRequest, fact_hash
from edit_lit.guards.fact_gradient import FactGradient, rows_of, share_of, target_loss
from edit_lit.guards.guard import Guard
from edit_lit.language_model import LanguageModel
from edit_lit.utilities.checks import check_number


class AGEM(Guard):
    """Takes from the gradient what would raise the loss of some edited facts: averaged gradient episodic memory.

    With r the gradient of the loss of the new targets on a few of the facts, g becomes g − (g·r / r·r) r wherever
    g·r < 0 (Chaudhry et al., arXiv 1812.00420, equation 11), for each parameter alone. It holds to first order and for
    the gradient; what an optimizer with elementwise scaling, such as Adam, makes of it can still go against the facts.

    Like ``Replay`` it uses half of the facts unless told otherwise.

    Args:
        share: The share of the edited facts whose gradient is looked at.
        batch_size: Prompts in each optimizer step, all processes together.
        paraphrases: So many paraphrases of each fact are looked at beside its own prompt.
        seed: Seed of which facts, and in what order.
    """

    def __init__(self, share: float = 0.5, batch_size: int = 8, paraphrases: int = 0, seed: int = 0) -> None:
        check_number("guards.use.share", share, above=0, most=1)
        check_number("guards.use.batch_size", batch_size, least=1)
        check_number("guards.use.paraphrases", paraphrases, least=0)
        self.share = share
        self.batch_size = batch_size
        self.paraphrases = paraphrases
        self.seed = seed
        self._facts: list[EditRequest] = []
        self._of = 0
        self._gradient: FactGradient | None = None
        self._measures: dict[str, Tensor] = {}

    def setup(self, language_model: LanguageModel, delta: Delta | None, requests: Sequence[EditRequest]) -> None:
        """Choose the facts."""
        self._facts, self._of = share_of(requests, self.share, self.seed), len(requests)
        rows = rows_of(language_model, self._facts, self.paraphrases)
        loss = target_loss(language_model, rows)
        self._gradient = FactGradient(language_model, len(rows), loss, self.batch_size, self.seed)
        self._measures = {"loss": torch.tensor(math.nan), "against": torch.tensor(math.nan)}

    @property
    def seen(self) -> frozenset[str]:
        """The chosen facts."""
        return frozenset(map(fact_hash, self._facts))

    @torch.no_grad()
    def before_step(self) -> None:
        """Take off what goes against the facts."""
        assert self._gradient is not None, "call setup first"
        loss, references = self._gradient.at(self.step)
        pairs = [
            _without_conflict(parameter, reference)
            for parameter, reference in zip(self._gradient.parameters, references, strict=True)
            if parameter.grad is not None
        ]
        self._measures = {"loss": loss, "against": torch.stack(pairs).double().mean()}

    def describe(self) -> str:
        """How many facts it looks at, and how many prompts in a step."""
        assert self._gradient is not None, "call setup first"
        return (
            f"AGEM lets no gradient go against {len(self._facts)} of {self._of} edited facts, "
            f"{self._gradient.batch_size} of {self._gradient.rows} prompts in each step"
        )

    def measures(self) -> Mapping[str, Tensor]:
        """The facts' loss in nats per token, and the share of parameters whose gradient went against them."""
        return self._measures


def _without_conflict(parameter: nn.Parameter, reference: Tensor) -> Tensor:
    """Take off one parameter's gradient what goes against a reference; whether there was anything to take off."""
    assert parameter.grad is not None
    along = (parameter.grad * reference).sum()
    conflict = along < 0
    share = torch.where(conflict, along / reference.square().sum(), 0)
    parameter.grad.sub_(share * reference)
    return conflict
