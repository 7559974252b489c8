"""The state of the optimisation of a chunk of target values, and the terms of its loss.

Shape legend: F facts of the chunk, A facts still being optimised, M moved modules, D hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


class OptimizationState:
    """The state of each fact of a chunk: its δ, its last loss and whether it has finished.

    Attributes:
        delta_FMD: δ at the last pass.
        steps_F: Forward passes.
        losses_F: Loss at the last pass.
        nll_F: NLL of the target at the last pass.
        finished_F: Whether a condition to stop was met.
        correct_F: Passes in which every target token was the most probable one.
        was_correct_F: Whether the last pass was one of them.
        gradient_FMD: Sum of the loss's gradients over the updates.
    """

    def __init__(self, start_FMD: Tensor) -> None:
        facts, device = len(start_FMD), start_FMD.device
        self.delta_FMD = start_FMD.clone()
        self.steps_F = torch.zeros(facts, dtype=torch.long, device=device)
        self.losses_F = torch.zeros(facts, dtype=start_FMD.dtype, device=device)
        self.nll_F = torch.zeros_like(self.losses_F)
        self.finished_F = torch.zeros(facts, dtype=torch.bool, device=device)
        self.correct_F = torch.zeros_like(self.steps_F)
        self.was_correct_F = torch.zeros_like(self.finished_F)
        self.gradient_FMD = torch.zeros_like(start_FMD)

    @torch.no_grad()
    def note(self, active: Tensor, delta_FMD: Tensor, loss_A: Tensor, terms: LossTerms) -> None:
        """Note a pass over the facts that are still being optimised."""
        self.delta_FMD[active] = delta_FMD[active]
        self.steps_F[active] += 1
        self.losses_F[active] = loss_A
        self.nll_F[active] = terms.nll_A
        self.correct_F[active] += terms.correct_A
        self.was_correct_F[active] = terms.correct_A

    @property
    def mean_gradient_FMD(self) -> Tensor:
        """Mean gradient over each fact's updates."""
        return self.gradient_FMD / (self.steps_F - 1).clamp(min=1)[:, None, None]


@dataclass(frozen=True)
class LossTerms:
    """The terms of each active fact's loss, and whether every target token is the argmax, [A].

    The last is computed only if an option depends on it; what the margin lacks is 0 if none is asked for.
    """

    nll_A: Tensor
    kl_A: Tensor
    decay_A: Tensor
    lacking_A: Tensor
    correct_A: Tensor
