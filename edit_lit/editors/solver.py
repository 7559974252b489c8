"""The closed form that all locate-then-edit methods share.

Shape legend: N size of the MLP, D hidden size, B facts, M facts once there are no more than N, Z committed facts,
X = N + D.
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
    """A after keys were committed to it, A − Z Zᵀ: later updates leave those keys' values alone.

    Committing keys K replaces A by A − AK (I + KᵀAK)⁻¹ KᵀA, which is (A⁻¹ + KKᵀ)⁻¹ by Woodbury's identity. With
    I + KᵀAK = GGᵀ that appends the columns of AKG⁻ᵀ to Z. Once Z is wider than tall, they are taken from A itself
    instead, an N × N matrix from then on: neither memory nor the time that a batch takes grows any further.

    Args:
        base: A before anything was committed.
    """

    def __init__(self, base: Preconditioner) -> None:
        self.base = base
        self._factor_NZ: Tensor | None = None
        self._matrix_NN: Tensor | None = None

    def __matmul__(self, keys_NB: Tensor) -> Tensor:
        keys_NB = keys_NB.double()
        if self._matrix_NN is not None:
            return self._matrix_NN @ keys_NB
        product_NB = self.base @ keys_NB
        if self._factor_NZ is None:
            return product_NB
        return product_NB - self._factor_NZ @ (self._factor_NZ.T @ keys_NB)

    def commit(self, keys_NB: Tensor) -> None:
        """Protect the values of some keys from all later updates."""
        keys_NB = keys_NB.double()
        keys_NB, _ = _condensed(keys_NB, keys_NB[:0])
        spread_NB = self @ keys_NB
        factor_BB = torch.linalg.cholesky(_system(keys_NB, spread_NB, 1.0))
        new_NB = torch.linalg.solve_triangular(factor_BB, spread_NB.T, upper=False).T
        if self._matrix_NN is not None:
            self._matrix_NN -= new_NB @ new_NB.T
            return
        self._factor_NZ = new_NB if self._factor_NZ is None else torch.cat([self._factor_NZ, new_NB], dim=1)
        if self._factor_NZ.shape[1] > len(self._factor_NZ):
            eye_NN = torch.eye(len(self._factor_NZ), dtype=torch.float64, device=self._factor_NZ.device)
            self._matrix_NN, self._factor_NZ = self @ eye_NN, None

    @property
    def condition(self) -> float:
        """That of the base."""
        return self.base.condition


def solve_update(
    preconditioner: Preconditioner, keys_NB: Tensor, residuals_DB: Tensor, epsilon: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The weight update Δ = R (εI + KᵀAK)⁻¹ KᵀA, from one system of size M = min(B, N).

    For ε = 1 it minimises ‖ΔK − R‖² + tr(Δ A⁻¹ Δᵀ); for ε → 0 it minimises tr(Δ A⁻¹ Δᵀ) subject to ΔK = R. Where
    keys depend on each other and ε is 0, it takes the least-squares solution.

    Args:
        preconditioner: A.
        keys_NB: K, the keys of the edited facts.
        residuals_DB: R, what their values should gain.
        epsilon: ε.

    Returns:
        Factors of Δ = left rightᵀ: left [D, M] = R T⁻¹ and right [N, M] = A K, float64, with K and R condensed to N
        columns where there are more facts.
    """
    keys_NM, residuals_DM = _condensed(keys_NB.double(), residuals_DB.double())
    spread_NM = preconditioner @ keys_NM
    system_MM = _system(keys_NM, spread_NM, epsilon)
    factor_MM, failed = torch.linalg.cholesky_ex(system_MM)
    # Rounding may leave the pivots of dependent keys just above 0, where the decomposition does not fail.
    if failed or (epsilon == 0 and _is_singular(factor_MM)):
        return residuals_DM @ torch.linalg.pinv(system_MM, hermitian=True), spread_NM
    return torch.cholesky_solve(residuals_DM.T, factor_MM).T.contiguous(), spread_NM


def _condensed(keys_NB: Tensor, residuals_DB: Tensor) -> tuple[Tensor, Tensor]:
    """N keys and residuals that stand for more than N, with the same update and the same effect when committed.

    Both depend on nothing but KKᵀ and RKᵀ. With Kᵀ = QU, Q [B, N] orthonormal, these are the same for KQ and RQ,
    which a triangular decomposition of [Kᵀ Rᵀ] holds without Q's ever being formed: its first N rows are
    [QᵀKᵀ QᵀRᵀ].
    """
    size, facts = keys_NB.shape
    if facts <= size:
        return keys_NB, residuals_DB
    rows_BX = torch.cat([keys_NB, residuals_DB]).T
    first_NX = torch.linalg.qr(rows_BX, mode="r").R[:size]
    return first_NX[:, :size].T, first_NX[:, size:].T


def _system(keys_NB: Tensor, spread_NB: Tensor, epsilon: float) -> Tensor:
    """T = εI + KᵀAK, symmetric to the last bit."""
    product_BB = keys_NB.T @ spread_NB
    eye_BB = torch.eye(keys_NB.shape[1], dtype=product_BB.dtype, device=product_BB.device)
    return (product_BB + product_BB.T) / 2 + epsilon * eye_BB


def _is_singular(factor_MM: Tensor) -> bool:
    """Whether a Cholesky factor's smallest pivot is rounding against the largest one."""
    pivots_M = factor_MM.diagonal().square()
    return bool(pivots_M.min() <= len(pivots_M) * torch.finfo(pivots_M.dtype).eps * pivots_M.max())
