"""One matrix whose answers to some inputs are kept while it trains.

Shape legend: O outputs, N inputs, K keys, R protected directions.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from edit_lit.editors.closed_form.preconditioners import Preconditioner
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

    Of all changes of W that restore these answers, that by Qᵀ is the smallest. With X = C⁻¹ Q (Qᵀ C⁻¹ Q)⁻¹ instead,
    W − (W Q − V) Xᵀ restores them as exactly, since Xᵀ Q = I, and is the change D with the least tr(D C Dᵀ): that which
    other inputs, of second moment C, feel least.

    With V = 0 it is for the first matrix A of a low-rank adapter B A: while A k = 0, the adapter leaves the answer to k
    alone, whatever B becomes.

    Args:
        module: A Linear or Conv1D, with the weights whose answers are kept.
        keys_KN: The inputs, [K, N].
        energy: The share of the sum of squares of the keys, each of unit norm, that the basis keeps.
        silent: Keep the answers at 0 instead of at what they are now.
        strength: The share of the way that a restoration goes back. Below 1 gradients are left alone, since Adam would
            make up for a part that is taken off.
        ordinary: C⁻¹, the inverse of other inputs' second moment, if restoring shall disturb the answers to them least;
            not where a bias trains, of which it says nothing.

    Raises:
        ConfigError: If the keys span all inputs, so that nothing could train.
    """

    def __init__(
        self,
        module: nn.Module,
        keys_KN: Tensor,
        energy: float = 1.0,
        silent: bool = False,
        strength: float = 1.0,
        ordinary: Preconditioner | None = None,
    ) -> None:
        inner = base_layer(module)
        self.weight = projection_weight(module)
        self.bias = trained_bias(module)
        self._transposed = isinstance(inner, Conv1D)
        self._energy, self._strength, self._ordinary = energy, strength, ordinary
        assert ordinary is None or self.bias is None
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        self._protect(key_basis(self._float64(keys_KN), energy), len(keys_KN))
        answers_OR = self._answers()
        self._start_OR = torch.zeros_like(answers_OR) if silent else answers_OR
        self._size = self.weight.detach().norm().to(dtype) if silent else answers_OR.norm()
        self.moved = torch.zeros((), dtype=dtype, device=self.weight.device)

    def _protect(self, found_NR: Tensor, keys: int) -> None:
        """Take the directions that count from now on."""
        found = [found_NR.cpu()]
        if self._ordinary is not None:
            found.append(least_felt(found_NR, self._ordinary).cpu())
        # A basis is one of many: processes on other machines might find another, and their weights would part.
        parts = [self._here(part) for part in distributed.from_first_process(found)]
        basis_NR = parts[0]
        self.inputs, self.rank = basis_NR.shape
        if self.rank >= self.inputs:
            raise ConfigError(
                f"{keys} keys span all {self.inputs} inputs of the matrix, so that nothing of it could train. "
                "Protect fewer facts, or lower guards.use.energy."
            )
        self._basis_NR, self._back_NR = basis_NR, parts[-1]

    def _here(self, values: Tensor) -> Tensor:
        """Numbers where the weight is, in its type or float32, whichever is finer."""
        return values.to(self.weight.device, torch.promote_types(self.weight.dtype, torch.float32))

    def _float64(self, keys_KN: Tensor) -> Tensor:
        """Keys as inputs of the matrix with the bias that trains as its last column, float64."""
        keys_KN = keys_KN.to(self.weight.device, torch.float64)
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

    def _take_off(self, weight: Tensor, bias: Tensor | None, along_OR: Tensor, back_NR: Tensor) -> None:
        matrix_ON = self._oriented(weight)
        matrix_ON -= (along_OR @ back_NR[: matrix_ON.shape[1]].T).to(weight.dtype)
        if bias is not None:
            bias -= (along_OR @ back_NR[-1]).to(bias.dtype)

    @torch.no_grad()
    def project_gradient(self) -> None:
        """Take from the gradient what would change the answers, if there is a gradient and they are kept exactly."""
        gradient = self.weight.grad
        if gradient is not None and self._strength == 1:
            bias = None if self.bias is None else self.bias.grad
            self._take_off(gradient, bias, self._along(gradient, bias), self._basis_NR)

    @torch.no_grad()
    def restore(self) -> None:
        """Bring the answers back, and note by what share of their norm they had moved."""
        self.moved = self._bring_back().norm() / self._size

    def _bring_back(self) -> Tensor:
        """Bring the answers back by the share that is asked for; how far they were off, [O, R]."""
        change_OR = self._answers() - self._start_OR
        self._take_off(self.weight, self.bias, self._strength * change_OR, self._back_NR)
        return change_OR

    @torch.no_grad()
    def follow(self, keys_KN: Tensor, short_KO: Tensor) -> None:
        """Protect other keys from now on, and bring the answers to them to what they shall be.

        Args:
            keys_KN: The keys, [K, N].
            short_KO: What the answers to them lack to be so, [K, O], float64. Where several keys ask for what no matrix
                gives, it is the least squares that count.

        Raises:
            ConfigError: If the keys span all inputs; nothing is changed then.
        """
        found_NR, found_RO = smallest_change(self._float64(keys_KN), short_KO, self._energy)
        self._protect(found_NR, len(keys_KN))
        lacking_RO = self._here(distributed.from_first_process(found_RO.cpu()))
        self._start_OR = self._answers() + lacking_RO.T
        self._size = self._start_OR.norm()
        self._bring_back()

    def state_dict(self) -> dict[str, Tensor]:
        """What is protected and kept, on the CPU."""
        kept = {"basis": self._basis_NR, "back": self._back_NR, "answers": self._start_OR}
        return {name: values.cpu() for name, values in kept.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Protect and keep what :meth:`state_dict` gave."""
        self._basis_NR, self._back_NR, self._start_OR = (
            self._here(state[name]) for name in ("basis", "back", "answers")
        )
        self.rank, self._size = self._basis_NR.shape[1], self._start_OR.norm()

    def off(self) -> Tensor:
        """By what share of their norm the answers are off now; of the weight's, where they are kept at 0."""
        return (self._answers() - self._start_OR).norm() / self._size


def trained_bias(module: nn.Module) -> nn.Parameter | None:
    """The bias of a projection, if it has one that trains."""
    bias = getattr(base_layer(module), "bias", None)
    return bias if isinstance(bias, nn.Parameter) and bias.requires_grad else None


def key_basis(keys_KN: Tensor, energy: float) -> Tensor:
    """An orthonormal basis of keys of unit norm, of as few directions as keep a share of their energy, [N, R]."""
    sizes = keys_KN.norm(dim=1, keepdim=True)
    unit_KN = keys_KN[sizes[:, 0] > 0] / sizes[sizes[:, 0] > 0]
    _, values, directions_RN = torch.linalg.svd(unit_KN, full_matrices=False)
    lost = 1 - (values**2).cumsum(0) / (values**2).sum()
    # The first place at which no more is lost than allowed; rounding is no direction.
    rank = int((lost > max(1 - energy, NEGLIGIBLE)).sum()) + 1
    return directions_RN[: min(rank, len(values))].T.contiguous()


def smallest_change(keys_KN: Tensor, short_KO: Tensor, energy: float) -> tuple[Tensor, Tensor]:
    """The smallest change of a matrix, in the sum of squares, by which its answers to keys gain what they lack.

    Args:
        keys_KN: The keys, float64.
        short_KO: What their answers lack, [K, O].
        energy: The share of the keys' energy that counts; below 1 the answers come as near as the kept directions let
            them, in the sum of squares.

    Returns:
        An orthonormal basis Q of the keys, [N, R], and what the change answers to it, [R, O]: the change is their
        product, transposed.
    """
    basis_NR = key_basis(keys_KN, energy)
    return basis_NR, torch.linalg.lstsq(keys_KN @ basis_NR, short_KO).solution


def least_felt(basis_NR: Tensor, ordinary: Preconditioner) -> Tensor:
    """X = C⁻¹ Q (Qᵀ C⁻¹ Q)⁻¹, [N, R]: of all X with Xᵀ Q = I that with the least tr(Xᵀ C X).

    Args:
        basis_NR: Q.
        ordinary: C⁻¹.
    """
    free_NR = ordinary @ basis_NR
    found_NR = torch.linalg.solve(basis_NR.T @ free_NR, free_NR.T).T
    # Once more, since where C leaves directions unused the first solution is off by rounding: now Xᵀ Q is I.
    return torch.linalg.solve(found_NR.T @ basis_NR, found_NR.T).T
