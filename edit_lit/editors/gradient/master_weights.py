"""Copies in full precision that an optimizer works on, for parameters of any type."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from edit_lit.language_model import working_type

Project = Callable[[Sequence[Tensor]], None]
"""Called with the copies after each step, to limit them."""


class MasterWeights:
    """Adam on copies in float32 or better, from which half-precision parameters are rounded after each step.

    Args:
        parameters: What learns, in place.
        lr: Learning rate.

    Attributes:
        copies: The copies, in the parameters' order.
    """

    def __init__(self, parameters: Sequence[Tensor], lr: float) -> None:
        self.parameters = parameters
        self.copies = [parameter.detach().to(working_type(parameter)).clone() for parameter in parameters]
        self._optimizer = torch.optim.Adam(self.copies, lr=lr)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], project: Project | None = None) -> None:
        """Take one step.

        Args:
            gradients: The parameters' gradients.
            project: See :data:`Project`.
        """
        for copy, gradient in zip(self.copies, gradients, strict=True):
            copy.grad = gradient.to(copy.dtype)
        self._optimizer.step()
        if project is not None:
            project(self.copies)
        for copy, parameter in zip(self.copies, self.parameters, strict=True):
            parameter.copy_(copy)
