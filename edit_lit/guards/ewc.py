"""EWC: each weight is drawn back to where the edit left it, by its importance for the edits' margins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from edit_lit.deltas import Delta
from edit_lit.deltas.adapters import adapter_parts, switched_on
from edit_lit.editors.gradient.training import teacher_forced
from edit_lit.facts.request import EditRequest, of_old_object
from edit_lit.guards.drawn_back import DrawnBack
from edit_lit.guards.fact_gradient import without_dropout
from edit_lit.guards.wordings import with_paraphrases
from edit_lit.language_model import LanguageModel, working_type
from edit_lit.language_model.scoring import ScoredRow, mean_nll
from edit_lit.utilities import distributed
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.progress import progress


class EWC(DrawnBack):
    """Draws each weight back to what it was right after the edit, by how much the edits' margins hang on it.

    Elastic weight consolidation (Kirkpatrick et al., arXiv 1612.00796) with two changes. The importance Fᵢ of a weight
    is the mean over facts of (d margin / d θᵢ)², with the margin log p(new) − log p(old) per token: the Fisher
    information of the new target itself vanishes where an edit has taken, with p(new) near 1. And the penalty
    λ/2 Σ Fᵢ (θᵢ − θₑᵢ)² is no term of the loss, which an optimizer with elementwise scaling would scale away, but its
    proximal step behind each step: θᵢ becomes θᵢ − sᵢ (θᵢ − θₑᵢ) with sᵢ = λ Fᵢ / (1 + λ Fᵢ). F is 1 on average over
    all weights that train; were it 1 for each, this would be ``L2SP`` with the strength λ / (1 + λ).

    It is worked out once, by a forward and a backward pass of each fact, and kept beside a copy of what trains on the
    model's device: twice as many numbers as train, F in float32 or better. An adapter is important as far as it says
    something at the start: of LoRA that is the second matrix, and the first one, whose effect begins at 0, is free.

    Args:
        strength: The strength λ, above 0.
        paraphrases: So many paraphrases of each fact are asked beside its own prompt.
    """

    def __init__(self, strength: float = 0.01, paraphrases: int = 0) -> None:
        super().__init__()
        check_number("guards.use.strength", strength, above=0)
        check_number("guards.use.paraphrases", paraphrases, least=0)
        self.strength = strength
        self.paraphrases = paraphrases
        self.importance: dict[nn.Parameter, Tensor] = {}
        self._facts = 0

    def setup(self, language_model: LanguageModel, delta: Delta | None, requests: Sequence[EditRequest]) -> None:
        """Copy what trains, and find out how much the margins hang on it."""
        self.importance, self._facts = {}, len(requests)
        super().setup(language_model, delta, requests)
        said = with_paraphrases(requests, self.paraphrases, "guards.use.paraphrases")
        sides = _sides(language_model, said)
        # Guards read the edited model without its adapter; what is asked here is how the adapter could change it.
        with switched_on(adapter_parts(language_model.model)), without_dropout(language_model.model):
            found = _squared_gradients(language_model, sides, list(self.start))
        total = float(torch.stack([part.sum(dtype=torch.float64) for part in found]).sum())
        if not 0 < total < math.inf:
            raise ConfigError(
                f"EWC finds no importance: the squared gradients of the edits' margins by what trains sum to "
                f"{total:g}. Leave it out."
            )
        for parameter, part in zip(self.start, found, strict=True):
            self.importance[parameter] = part.mul_(self.weights / total)

    def share(self, parameter: nn.Parameter) -> Tensor:
        """λ F / (1 + λ F) for each weight."""
        scaled = self.strength * self.importance[parameter]
        return (scaled / (1 + scaled)).to(parameter.dtype)

    def describe(self) -> str:
        """How many weights are drawn back for how many facts, and how strongly at most."""
        most = max(float(part.max()) for part in self.importance.values()) * self.strength
        return (
            f"EWC draws {self.weights:,} weights back by their importance for the margins of {self._facts} edited "
            f"facts, by up to {most / (1 + most):.2g} of their way behind each step"
        )

    def measures(self) -> Mapping[str, Tensor]:
        """How far all weights are from where they were, in shares of their norm then, and how important those are.

        ``moved_importance`` is Σ F (θ − θₑ)² / Σ (θ − θₑ)²: 1 if weights moved whatever their importance, and the less
        the better important ones were spared.
        """
        ways, weighted = [], []
        for parameter, importance in self.importance.items():
            way = (parameter.detach() - self.start[parameter]).to(importance.dtype).square()
            ways.append(way.sum().double())
            weighted.append((importance * way).sum().double())
        return {**super().measures(), "moved_importance": torch.stack(weighted).sum() / torch.stack(ways).sum()}


def _sides(language_model: LanguageModel, requests: Sequence[EditRequest]) -> list[list[ScoredRow]]:
    """The new and the old target of each fact behind its prompt, under teacher forcing.

    Raises:
        ConfigError: If a fact has no old one.
    """
    old = [of_old_object(request, "EWC") for request in requests]
    rows = (teacher_forced(language_model.tokenizer, some, end=False) for some in (requests, old))
    return [list(pair) for pair in zip(*rows, strict=True)]


def _squared_gradients(
    language_model: LanguageModel, sides: Sequence[Sequence[ScoredRow]], parameters: Sequence[nn.Parameter]
) -> list[Tensor]:
    """The sum over facts of the squared gradient of each margin, by parameter, equal in all processes."""
    sums = [torch.zeros_like(parameter, dtype=working_type(parameter)) for parameter in parameters]
    for rows in progress(distributed.shard(list(sides)), "importance of weights", "facts"):
        nll_of_new, nll_of_old = mean_nll(language_model, rows)
        margin = nll_of_old - nll_of_new
        if not margin.requires_grad:
            continue  # nothing that trains takes part in it
        gradients = torch.autograd.grad(margin, parameters, allow_unused=True)
        for total, gradient in zip(sums, gradients, strict=True):
            if gradient is not None:
                total += gradient.to(total.dtype).square()
    return [distributed.sum_over_processes(total) for total in sums]
