"""L2SP: what trains is drawn back to where the edit left it."""

from __future__ import annotations

from torch import nn

from edit_lit.guards.drawn_back import DrawnBack
from edit_lit.utilities.checks import check_number


class L2SP(DrawnBack):
    """Draws all weights that train a little way back to what they were right after the edit, behind each step.

    Regularisation towards the starting point (Li et al., arXiv 1802.01483), decoupled from the loss as AdamW decouples
    weight decay: θ becomes θ − s (θ − θₑ). As a term of the loss, an optimizer with elementwise scaling would scale it
    away. It knows nothing of the edits, and keeps a second copy of what trains on the model's device.

    Args:
        strength: The share s of the way that is gone back behind each step, above 0 and below 1.
    """

    def __init__(self, strength: float = 0.01) -> None:
        super().__init__()
        check_number("guards.use.strength", strength, above=0, below=1)
        self.strength = strength

    def share(self, parameter: nn.Parameter) -> float:
        """The same for all weights."""
        return self.strength

    def describe(self) -> str:
        """How many weights are drawn back, and how strongly."""
        return f"L2SP draws {self.weights:,} weights back by {self.strength:g} of their way behind each step"
