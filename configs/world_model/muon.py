"""Muon: momentum whose steps are made orthogonal, for matrices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
N_ITERATIONS = 5


def orthogonalise(matrices: Tensor) -> Tensor:
    """Move all singular values of each matrix close to 1.

    This is the quintic Newton-Schulz iteration of Jordan et al. 2024 (Muon), on a whole stack at once.

    Args:
        matrices: The stack [n, rows, columns].
    """
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    x = wide / (wide.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(N_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if matrices.shape[1] <= matrices.shape[2] else x.mT


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) on matrices and Adam on everything else, in one optimizer.

    ``torch.optim.Muon`` takes matrices one by one in bfloat16, which is slow on a CPU; here all matrices of one
    shape are stepped together in float32.

    Args:
        matrices: What Muon trains: parameters of two dimensions.
        others: What Adam trains.
        lr: Size of Muon's steps; one on a square matrix has the norm ``lr * sqrt(rows)``.
        momentum: Decay of Muon's running mean of gradients, used with Nesterov's look-ahead.
        weight_decay: Share of a matrix, times ``lr``, that each step takes away.
        other_lr: Adam's learning rate.
        betas: Decay of Adam's running means of gradients and of their squares.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        lr: float = 0.01,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        other_lr: float = 3e-3,
        betas: tuple[float, float] = (0.9, 0.98),
    ) -> None:
        groups = [{"params": list(matrices), "muon": True}, {"params": list(others), "muon": False, "lr": other_lr}]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [(weight, weight.grad) for weight in group["params"] if weight.grad is not None]
            if group["muon"]:
                by_shape: defaultdict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
                for weight, gradient in trained:
                    by_shape[weight.shape].append((weight, gradient))
                for stack in by_shape.values():
                    self._muon_step(stack, group["lr"], group["momentum"], group["weight_decay"])
            else:
                for weight, gradient in trained:
                    self._adam_step(weight, gradient, group["lr"], *group["betas"])
        return loss

    def _muon_step(
        self, stack: list[tuple[nn.Parameter, Tensor]], lr: float, momentum: float, weight_decay: float
    ) -> None:
        ahead = []
        for weight, gradient in stack:
            mean = self.state[weight].setdefault("mean", torch.zeros_like(weight))
            mean.lerp_(gradient, 1 - momentum)
            ahead.append(gradient.lerp(mean, momentum))
        rows, columns = stack[0][0].shape
        scale = max(1.0, rows / columns) ** 0.5
        for (weight, _), update in zip(stack, orthogonalise(torch.stack(ahead)), strict=True):
            weight.mul_(1 - lr * weight_decay).add_(update, alpha=-lr * scale)

    def _adam_step(self, weight: nn.Parameter, gradient: Tensor, lr: float, beta: float, beta_square: float) -> None:
        state = self.state[weight]
        mean = state.setdefault("mean", torch.zeros_like(weight)).lerp_(gradient, 1 - beta)
        square = state.setdefault("square", torch.zeros_like(weight)).lerp_(gradient.square(), 1 - beta_square)
        state["steps"] = steps = state.get("steps", 0) + 1
        root = (square / (1 - beta_square**steps)).sqrt().add_(1e-8)
        weight.addcdiv_(mean, root, value=-lr / (1 - beta**steps))
