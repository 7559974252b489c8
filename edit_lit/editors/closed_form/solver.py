"""The closed form that all locate-then-edit methods share.

Shape legend: N size of the MLP, D hidden size, B facts, M = min(B, N) facts after condensing, X = N + D.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edit_lit.editors.closed_form.preconditioners import Preconditioner

RANK_TOLERANCE = 1e-10
"""Share of a system's largest eigenvalue below which the others count as 0.

Keys that depend on each other make the system singular, and rounding makes small numbers of its zeros, of either sign:
1e-16 of the largest eigenvalue by itself, and several hundred times that where a preconditioner has taken up
accumulated keys. Which of them survive a cutoff at that scale differs from one machine to the next. This one lies far
above all rounding, and far below what tells two facts apart.
"""


def solve_update(
    preconditioner: Preconditioner, keys_NB: Tensor, residuals_DB: Tensor, epsilon: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The weight update Δ = R (εI + KᵀAK)⁻¹ KᵀA, from one system of size M = min(B, N).

    For ε = 1 it minimises ‖ΔK − R‖² + tr(Δ A⁻¹ Δᵀ); for ε → 0 it minimises tr(Δ A⁻¹ Δᵀ) subject to ΔK = R. Where
    keys depend on each other (up to ``RANK_TOLERANCE``) and ε is 0, it takes the least-squares solution.

    Args:
        preconditioner: A.
        keys_NB: K, the keys of the edited facts.
        residuals_DB: R, what their values should gain.
        epsilon: ε.

    Returns:
        Factors of Δ = left rightᵀ: left [D, M] = R T⁻¹ and right [N, M] = A K, float64, with K and R condensed to N
        columns where there are more facts.

    Examples:
        A constrained update gives each key exactly what it should gain:

        >>> from edit_lit.editors.closed_form.preconditioners import Identity
        >>> keys, residuals = torch.tensor([[1.0], [2.0]]), torch.tensor([[5.0]])
        >>> left, right = solve_update(Identity(), keys, residuals, epsilon=0.0)
        >>> round(float(left @ right.T @ keys.double()), 6)
        5.0
    """
    keys_NM, residuals_DM = condensed(keys_NB.double(), residuals_DB.double())
    preconditioned_NM = preconditioner @ keys_NM
    system_MM = system(keys_NM, preconditioned_NM, epsilon)
    factor_MM, failed = torch.linalg.cholesky_ex(system_MM)
    # Rounding may leave the pivots of dependent keys just above 0, where the decomposition does not fail.
    if failed or (epsilon == 0 and _is_singular(factor_MM)):
        return residuals_DM @ torch.linalg.pinv(system_MM, rtol=RANK_TOLERANCE, hermitian=True), preconditioned_NM
    return torch.cholesky_solve(residuals_DM.T, factor_MM).T.contiguous(), preconditioned_NM


def condensed(keys_NB: Tensor, residuals_DB: Tensor) -> tuple[Tensor, Tensor]:
    """N keys and residuals that stand for more than N, with the same update and the same effect when accumulated.

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


def system(keys_NB: Tensor, preconditioned_NB: Tensor, epsilon: float) -> Tensor:
    """T = εI + KᵀAK, symmetric to the last bit."""
    product_BB = keys_NB.T @ preconditioned_NB
    eye_BB = torch.eye(keys_NB.shape[1], dtype=product_BB.dtype, device=product_BB.device)
    return (product_BB + product_BB.T) / 2 + epsilon * eye_BB


def _is_singular(factor_MM: Tensor) -> bool:
    """Whether a Cholesky factor's smallest pivot is rounding against the largest one."""
    pivots_M = factor_MM.diagonal().square()
    return bool(pivots_M.min() <= RANK_TOLERANCE * pivots_M.max())
