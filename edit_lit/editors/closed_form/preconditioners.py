"""Preconditioners: which directions of the keys an update is free to use.

Shape legend: N size of the MLP, B facts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from edit_lit.editors.closed_form.key_covariance import Spectrum


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
class InverseCovariance(Preconditioner):
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
