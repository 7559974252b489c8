"""A guard of one's own: all weights are drawn back to where the edit left them, a little behind each step.

L2-SP (Li et al., arXiv 1802.01483) in its decoupled form: θ becomes θ − λ (θ − θₑ). As a term of the loss an optimizer
with elementwise scaling, such as Adam, would scale it away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from edit_lit.deltas import Delta
from edit_lit.facts import EditRequest
from edit_lit.guards import Guard
from edit_lit.language_model import LanguageModel


class PullBack(Guard):
    """Draws what trains back to what it was right after the edit.

    Args:
        strength: The share of the way that is gone back behind each step.
    """

    def __init__(self, strength: float = 0.01) -> None:
        self.strength = strength
        self._start: dict[nn.Parameter, Tensor] = {}

    def setup(self, language_model: LanguageModel, delta: Delta | None, requests: Sequence[EditRequest]) -> None:
        """Keep a copy of the weights that train."""
        trained = [parameter for parameter in language_model.model.parameters() if parameter.requires_grad]
        self._start = {parameter: parameter.detach().clone() for parameter in trained}

    @torch.no_grad()
    def after_step(self) -> None:
        """Go back a share of the way."""
        for parameter, start in self._start.items():
            parameter.lerp_(start, self.strength)

    def describe(self) -> str:
        """One line for the log."""
        return f"PullBack draws {len(self._start)} weights back by {self.strength:g} of their way behind each step"

    def measures(self) -> Mapping[str, Tensor]:
        """How far the weights are from where they were."""
        ways = [(parameter.detach() - start).norm() for parameter, start in self._start.items()]
        return {"distance": torch.stack(ways).norm()}
