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


@dataclass(frozen=True)
class InverseMoment(Preconditioner):
    """A = (weight · (C + ridge · mean eigenvalue of C · I))⁻¹.

    With ``ridge`` 0 this is MEMIT's (λC)⁻¹ (arXiv 2210.07229, equation 14); weight · ridge · mean eigenvalue is
    the γ of ENCORE's norm constraint (arXiv 2502.01636), here relative to the size of C.

    Args:
        spectrum: Eigendecomposition of C.
        weight: λ, the weight of preserved keys against edited ones.
        ridge: Ridge, as a share of the mean eigenvalue.
    """

    spectrum: Spectrum
    weight: float
    ridge: float = 0.0

    def __matmul__(self, keys_NB: Tensor) -> Tensor:
        values_N = self.spectrum.values
        # A direction that no key of the corpus uses has eigenvalue 0. The floor keeps its inverse finite, at
        # the scale of rounding in the decomposition.
        floor = values_N[-1] * len(values_N) * torch.finfo(values_N.dtype).eps
        shifted_N = (values_N + self.ridge * values_N.mean()).clamp(min=float(floor))
        vectors = self.spectrum.vectors
        return vectors @ ((vectors.T @ keys_NB) / (self.weight * shifted_N)[:, None])

    @property
    def condition(self) -> float:
        """Largest over smallest eigenvalue of the matrix that is inverted; infinite if C is singular."""
        values_N = self.spectrum.values + self.ridge * self.spectrum.values.mean()
        return float(values_N[-1] / values_N[0])


def solve_update(
    preconditioner: Preconditioner, keys_NB: Tensor, residuals_DB: Tensor, epsilon: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The weight update Δ = R (εI + KᵀAK)⁻¹ KᵀA, from one B × B system.

    For ε = 1 it minimises ‖ΔK − R‖² + tr(Δ A⁻¹ Δᵀ); for ε → 0 it minimises tr(Δ A⁻¹ Δᵀ) subject to ΔK = R.

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
    system_BB = keys_NB.T @ spread_NB
    system_BB = (system_BB + system_BB.T) / 2 + epsilon * torch.eye(keys_NB.shape[1], device=keys_NB.device)
    factor_BB = torch.linalg.cholesky(system_BB)
    return torch.cholesky_solve(residuals_DB.T, factor_BB).T.contiguous(), spread_NB
