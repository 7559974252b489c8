"""A preconditioner that accumulates the keys of earlier batches, so that later updates preserve their values.

Shape legend: N size of the MLP, B facts, Z accumulated facts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edit_lit.editors.closed_form.preconditioners import Preconditioner
from edit_lit.editors.closed_form.solver import condensed, system


class Accumulated(Preconditioner):
    """A preconditioner A with keys accumulated into it, A − Z Zᵀ: later updates preserve those keys' values.

    Accumulating keys K replaces A by A − AK (I + KᵀAK)⁻¹ KᵀA, which is (A⁻¹ + KKᵀ)⁻¹ by Woodbury's identity. With
    I + KᵀAK = GGᵀ that appends the columns of AKG⁻ᵀ to Z. Once Z is wider than tall, they are taken from A itself
    instead, an N × N matrix from then on: neither memory nor the time that a batch takes grows any further.

    Args:
        base: A before anything was accumulated.
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

    def accumulate(self, keys_NB: Tensor) -> None:
        """Preserve the values of some keys, [N, B], in all later updates."""
        keys_NB = keys_NB.double()
        keys_NB, _ = condensed(keys_NB, keys_NB[:0])
        preconditioned_NB = self @ keys_NB
        factor_BB = torch.linalg.cholesky(system(keys_NB, preconditioned_NB, 1.0))
        new_NB = torch.linalg.solve_triangular(factor_BB, preconditioned_NB.T, upper=False).T
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

    @property
    def unresolved(self) -> int:
        """That of the base."""
        return self.base.unresolved
