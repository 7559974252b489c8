"""L2SP: what trains is drawn back to where the edit left it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from edit_lit.deltas import Delta
from edit_lit.facts.request import EditRequest
from edit_lit.guards.guard import Guard
from edit_lit.language_model import LanguageModel
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


class L2SP(Guard):
    """Draws all weights that train a little way back to what they were right after the edit, behind each step.

    Regularisation towards the starting point (Li et al., arXiv 1802.01483), decoupled from the loss as AdamW decouples
    weight decay: θ becomes θ − s (θ − θₑ). As a term of the loss, an optimizer with elementwise scaling would scale it
    away. It knows nothing of the edits, and keeps a second copy of what trains on the model's device.

    Args:
        strength: The share s of the way that is gone back behind each step, above 0 and below 1.
    """

    def __init__(self, strength: float = 0.01) -> None:
        check_number("guards.use.strength", strength, above=0, below=1)
        self.strength = strength
        self._start: dict[nn.Parameter, Tensor] = {}

    def setup(self, language_model: LanguageModel, delta: Delta | None, requests: Sequence[EditRequest]) -> None:
        """Copy what trains."""
        trained = [parameter for parameter in language_model.model.parameters() if parameter.requires_grad]
        if not trained:
            raise ConfigError("L2SP would do nothing: no weight trains. Leave it out.")
        self._start = {parameter: parameter.detach().clone() for parameter in trained}

    @torch.no_grad()
    def after_step(self) -> None:
        """Go back a share of the way."""
        for parameter, start in self._start.items():
            parameter.lerp_(start, self.strength)

    def describe(self) -> str:
        """How many weights are drawn back, and how strongly."""
        weights = sum(start.numel() for start in self._start.values())
        return f"L2SP draws {weights:,} weights back by {self.strength:g} of their way behind each step"

    def measures(self) -> Mapping[str, Tensor]:
        """How far all weights together are from where they were, in shares of their norm then."""
        ways = [(parameter.detach() - start).norm().float() for parameter, start in self._start.items()]
        sizes = [start.norm().float() for start in self._start.values()]
        return {"distance": torch.stack(ways).norm() / torch.stack(sizes).norm()}
