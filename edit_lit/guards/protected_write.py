"""One matrix whose answers to some inputs are kept while it trains.

Shape legend: O outputs, N inputs, K keys, R protected directions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from edit_lit.language_model.module_tree import base_layer, projection_weight
from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError

NEGLIGIBLE = 1e-12
"""The share of the keys' energy that is taken for rounding, so that no direction hangs on how a machine rounds: keys of
float32 models that ought to be the same differ by 1e-7 of their norm, and so by 1e-14 of their energy."""


class ProtectedWrite:
    """Keeps what a projection answers to some keys: W k + b for each of them.

    With an orthonormal basis Q of the keys, gradients lose the part G Q Qᵀ, and behind a step W becomes
    W − (W Q − V) Qᵀ with V = W Q from the start. So W k is what it was for every key that the basis spans, whatever
    momentum, decay and clipping do in between. A bias that trains counts as a further column of W, and each key ends in
    a 1. It keeps N × R and O × R numbers, and costs four products of 2 O N R operations a step. All processes make it
    together, and keep the same basis.

    With V = 0 it is for the first matrix A of a low-rank adapter B A: while A k = 0, the adapter leaves the answer to k
    alone, whatever B becomes.

    Args:
        module: A Linear or Conv1D, with the weights whose answers are kept.
        keys_KN: The inputs, [K, N].
        energy: The share of the sum of squares of the keys, each of unit norm, that the basis keeps.
        silent: Keep the answers at 0 instead of at what they are now.

    Raises:
        ConfigError: If the keys span all inputs, so that nothing could train.
    """

    def __init__(self, module: nn.Module, keys_KN: Tensor, energy: float = 1.0, silent: bool = False) -> None:
        inner = base_layer(module)
        self.weight = projection_weight(module)
        bias = getattr(inner, "bias", None)
        self.bias = bias if isinstance(bias, nn.Parameter) and bias.requires_grad else None
        self._transposed = isinstance(inner, Conv1D)
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        found_NR = key_basis(self._inputs(keys_KN.to(self.weight.device, torch.float64)), energy)
        # A basis is one of many: processes on other machines might find another, and their weights would part.
        basis_NR = distributed.from_first_process(found_NR.cpu()).to(self.weight.device)
        self.inputs, self.rank = basis_NR.shape
        if self.rank >= self.inputs:
            raise ConfigError(
                f"{len(keys_KN)} keys span all {self.inputs} inputs of the matrix, so that nothing of it could train. "
                "Protect fewer facts, or lower guards.use.energy."
            )
        self._basis_NR = basis_NR.to(dtype)
        answers_OR = self._answers()
        self._start_OR = torch.zeros_like(answers_OR) if silent else answers_OR
        self._size = self.weight.detach().norm().to(dtype) if silent else answers_OR.norm()
        self.moved = torch.zeros((), dtype=dtype, device=self.weight.device)

    def _inputs(self, keys_KN: Tensor) -> Tensor:
        return keys_KN if self.bias is None else torch.cat([keys_KN, keys_KN.new_ones(len(keys_KN), 1)], dim=1)

    def _oriented(self, weight: Tensor) -> Tensor:
        """A weight or its gradient as outputs × inputs."""
        return weight.T if self._transposed else weight

    @torch.no_grad()
    def _answers(self) -> Tensor:
        """W Q as it is now, [O, R]."""
        return self._along(self.weight, self.bias)

    def _along(self, weight: Tensor, bias: Tensor | None) -> Tensor:
        basis_NR = self._basis_NR
        matrix_ON = self._oriented(weight)
        along_OR = matrix_ON.to(basis_NR.dtype) @ basis_NR[: matrix_ON.shape[1]]
        return along_OR if bias is None else along_OR + bias.to(basis_NR.dtype)[:, None] * basis_NR[-1]

    def _take_off(self, weight: Tensor, bias: Tensor | None, along_OR: Tensor) -> None:
        matrix_ON = self._oriented(weight)
        matrix_ON -= (along_OR @ self._basis_NR[: matrix_ON.shape[1]].T).to(weight.dtype)
        if bias is not None:
            bias -= (along_OR @ self._basis_NR[-1]).to(bias.dtype)

    @torch.no_grad()
    def project_gradient(self) -> None:
        """Take from the gradient what would change the answers, if there is a gradient."""
        gradient = self.weight.grad
        if gradient is not None:
            bias = None if self.bias is None else self.bias.grad
            self._take_off(gradient, bias, self._along(gradient, bias))

    @torch.no_grad()
    def restore(self) -> None:
        """Bring the answers back, and note by what share of their norm they had moved."""
        change_OR = self._answers() - self._start_OR
        self._take_off(self.weight, self.bias, change_OR)
        self.moved = change_OR.norm() / self._size

    def off(self) -> Tensor:
        """By what share of their norm the answers are off now; of the weight's, where they are kept at 0."""
        return (self._answers() - self._start_OR).norm() / self._size


def key_basis(keys_KN: Tensor, energy: float) -> Tensor:
    """An orthonormal basis of keys of unit norm, of as few directions as keep a share of their energy, [N, R]."""
    sizes = keys_KN.norm(dim=1, keepdim=True)
    unit_KN = keys_KN[sizes[:, 0] > 0] / sizes[sizes[:, 0] > 0]
    _, values, directions_RN = torch.linalg.svd(unit_KN, full_matrices=False)
    lost = 1 - (values**2).cumsum(0) / (values**2).sum()
    # The first place at which no more is lost than allowed; rounding is no direction.
    rank = int((lost > max(1 - energy, NEGLIGIBLE)).sum()) + 1
    return directions_RN[: min(rank, len(values))].T.contiguous()
