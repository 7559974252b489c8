"""A guard of one's own: all weights together stay within a distance of where the edit left them.

A trust region: where a step ends outside of the ball around the edited weights, it is brought back to its surface.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from edit_lit.deltas import Delta
from edit_lit.facts import EditRequest
from edit_lit.guards import Guard
from edit_lit.language_model import LanguageModel


class NormBall(Guard):
    """Keeps what trains within a distance of what it was right after the edit.

    Args:
        radius: The largest distance of all weights together, the root of the sum of squares of their changes.
    """

    def __init__(self, radius: float = 1.0) -> None:
        self.radius = radius
        self._start: dict[nn.Parameter, Tensor] = {}

    def setup(self, language_model: LanguageModel, delta: Delta | None, requests: Sequence[EditRequest]) -> None:
        """Keep a copy of the weights that train."""
        trained = [parameter for parameter in language_model.model.parameters() if parameter.requires_grad]
        self._start = {parameter: parameter.detach().clone() for parameter in trained}

    @torch.no_grad()
    def after_step(self) -> None:
        """Go back to the ball, if the step left it."""
        share = (self.radius / self._distance()).clamp(max=1)
        for parameter, start in self._start.items():
            parameter.copy_(torch.lerp(start, parameter, share.to(start.dtype)))

    def _distance(self) -> Tensor:
        ways = [(parameter.detach() - start).norm() for parameter, start in self._start.items()]
        return torch.stack(ways).norm()

    def describe(self) -> str:
        """One line for the log."""
        return f"NormBall keeps {len(self._start)} weights within {self.radius:g} of where the edit left them"

    def measures(self) -> Mapping[str, Tensor]:
        """How far the weights are from where they were."""
        return {"distance": self._distance()}
