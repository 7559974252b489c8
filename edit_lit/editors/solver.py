"""The closed form that all locate-then-edit methods share.

Shape legend: N size of the MLP, D hidden size, B facts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from edit_lit.editors.moments import Spectrum


class Preconditioner(ABC):
    """A symmetric positive semi-definite matrix A [N, N] that says which key directions are free to use."""

    @abstractmethod
    def __matmul__(self, keys_NB: Tensor) -> Tensor:
        """A times keys, [N, B], float64."""

    @property
    @abstractmethod
    def condition(self) -> float:
        """Largest over smallest eigenvalue of what had to be inverted to get A; infinite if it was singular."""


@dataclass(frozen=True)
class Identity(Preconditioner):
    """A = I: every direction of the keys is as free as any other."""

    def __matmul__(self, keys_NB: Tensor) -> Tensor:
        return keys_NB.double()

    @property
    def condition(self) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True)
class InverseMoment(Preconditioner):
    """A = (weight · (C + ridge · mean eigenvalue of C · I) + damping · I)⁻¹.

    With ``ridge`` and ``damping`` 0 this is MEMIT's (λC)⁻¹ (arXiv 2210.07229, equation 14). ``damping`` is the γ of
    ENCORE's norm constraint (arXiv 2502.01636); ``ridge`` says the same relative to the size of C.

    Args:
        spectrum: Eigendecomposition of C.
        weight: λ, the weight of preserved keys against edited ones.
        ridge: Ridge, as a share of the mean eigenvalue.
        damping: γ, in the units of λC.
    """

    spectrum: Spectrum
    weight: float
    ridge: float = 0.0
    damping: float = 0.0

    def __matmul__(self, keys_NB: Tensor) -> Tensor:
        values_N = self.spectrum.values
        # A direction that no key of the corpus uses has eigenvalue 0. The floor keeps its inverse finite, at
        # the scale of rounding in the decomposition.
        floor = values_N[-1] * len(values_N) * torch.finfo(values_N.dtype).eps
        shifted_N = (values_N + self.ridge * values_N.mean()).clamp(min=float(floor))
        vectors = self.spectrum.vectors
        return vectors @ ((vectors.T @ keys_NB.double()) / (self.weight * shifted_N + self.damping)[:, None])

    @property
    def condition(self) -> float:
        """Largest over smallest eigenvalue of the matrix that is inverted; infinite if it is singular."""
        values_N = self.weight * (self.spectrum.values + self.ridge * self.spectrum.values.mean()) + self.damping
        return float(values_N[-1] / values_N[0])


class Committed(Preconditioner):
    """A after keys were committed to it, A − Z Zᵀ with Z thin: later updates leave those keys' values alone.

    Committing keys K replaces A by A − AK (I + KᵀAK)⁻¹ KᵀA, which is (A⁻¹ + KKᵀ)⁻¹ by Woodbury's identity. With
    I + KᵀAK = GGᵀ that appends the columns of AKG⁻ᵀ to Z, so the N × N matrix is never formed.

    Args:
        base: A before anything was committed.
    """

    def __init__(self, base: Preconditioner) -> None:
        self.base = base
        self._factor_NZ: Tensor | None = None

    def __matmul__(self, keys_NB: Tensor) -> Tensor:
        product_NB = self.base @ keys_NB
        if self._factor_NZ is None:
            return product_NB
        return product_NB - self._factor_NZ @ (self._factor_NZ.T @ keys_NB.double())

    def commit(self, keys_NB: Tensor) -> None:
        """Protect the values of some keys from all later updates."""
        keys_NB = keys_NB.double()
        spread_NB = self @ keys_NB
        factor_BB = torch.linalg.cholesky(_system(keys_NB, spread_NB, 1.0))
        new_NB = torch.linalg.solve_triangular(factor_BB, spread_NB.T, upper=False).T
        self._factor_NZ = new_NB if self._factor_NZ is None else torch.cat([self._factor_NZ, new_NB], dim=1)
        if self._factor_NZ.shape[1] > len(self._factor_NZ):
            self._factor_NZ = _narrowed(self._factor_NZ)

    @property
    def condition(self) -> float:
        """That of the base."""
        return self.base.condition


def _narrowed(factor_NZ: Tensor) -> Tensor:
    """A square Z with the same ZZᵀ, so that memory stays bounded however many keys are committed."""
    values_N, vectors_NN = torch.linalg.eigh(factor_NZ @ factor_NZ.T)
    return vectors_NN * values_N.clamp(min=0).sqrt()


def solve_update(
    preconditioner: Preconditioner, keys_NB: Tensor, residuals_DB: Tensor, epsilon: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The weight update Δ = R (εI + KᵀAK)⁻¹ KᵀA, from one B × B system.

    For ε = 1 it minimises ‖ΔK − R‖² + tr(Δ A⁻¹ Δᵀ); for ε → 0 it minimises tr(Δ A⁻¹ Δᵀ) subject to ΔK = R. Where
    keys depend on each other and ε is 0, it takes the least-squares solution.

    Args:
        preconditioner: A.
        keys_NB: K, the keys of the edited facts.
        residuals_DB: R, what their values should gain.
        epsilon: ε.

    Returns:
        Factors of Δ = left rightᵀ: left [D, B] = R T⁻¹ and right [N, B] = A K, float64.
    """
    keys_NB, residuals_DB = keys_NB.double(), residuals_DB.double()
    spread_NB = preconditioner @ keys_NB
    system_BB = _system(keys_NB, spread_NB, epsilon)
    factor_BB, failed = torch.linalg.cholesky_ex(system_BB)
    if failed:
        return residuals_DB @ torch.linalg.pinv(system_BB, hermitian=True), spread_NB
    return torch.cholesky_solve(residuals_DB.T, factor_BB).T.contiguous(), spread_NB


def _system(keys_NB: Tensor, spread_NB: Tensor, epsilon: float) -> Tensor:
    """T = εI + KᵀAK, symmetric to the last bit."""
    product_BB = keys_NB.T @ spread_NB
    eye_BB = torch.eye(keys_NB.shape[1], dtype=product_BB.dtype, device=product_BB.device)
    return (product_BB + product_BB.T) / 2 + epsilon * eye_BB
