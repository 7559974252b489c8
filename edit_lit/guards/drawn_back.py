"""What guards share that draw weights back to where the edit left them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from edit_lit.deltas import Delta
from edit_lit.facts.request import EditRequest
from edit_lit.guards.guard import Guard
from edit_lit.language_model import LanguageModel
from edit_lit.utilities.errors import ConfigError


class DrawnBack(Guard):
    """Draws all weights that train a share of their way back to what they were right after the edit, behind each step.

    It is decoupled from the loss as AdamW decouples weight decay: θ becomes θ − s (θ − θₑ). As a term of the loss, an
    optimizer with elementwise scaling would scale it away. It keeps a second copy of what trains on the model's device.

    Attributes:
        start: What trains, as it was right after the edit.
    """

    def __init__(self) -> None:
        self.start: dict[nn.Parameter, Tensor] = {}

    @abstractmethod
    def share(self, parameter: nn.Parameter) -> float | Tensor:
        """The share s of the way that a parameter goes back, or one for each of its weights."""

    def setup(self, language_model: LanguageModel, delta: Delta | None, requests: Sequence[EditRequest]) -> None:
        """Copy what trains."""
        trained = [parameter for parameter in language_model.model.parameters() if parameter.requires_grad]
        if not trained:
            raise ConfigError(f"{type(self).__name__} would do nothing: no weight trains. Leave it out.")
        self.start = {parameter: parameter.detach().clone() for parameter in trained}

    @torch.no_grad()
    def after_step(self) -> None:
        """Go back a share of the way."""
        for parameter, start in self.start.items():
            parameter.lerp_(start, self.share(parameter))

    @property
    def weights(self) -> int:
        """How many weights are drawn back."""
        return sum(start.numel() for start in self.start.values())

    def measures(self) -> Mapping[str, Tensor]:
        """How far all weights together are from where they were, in shares of their norm then."""
        ways = [(parameter.detach() - start).norm().float() for parameter, start in self.start.items()]
        sizes = [start.norm().float() for start in self.start.values()]
        return {"distance": torch.stack(ways).norm() / torch.stack(sizes).norm()}
