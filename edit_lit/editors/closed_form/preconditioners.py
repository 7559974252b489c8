"""Preconditioners: how much it costs an update to use each direction of the keys.

Shape legend: N size of the MLP, B facts.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from edit_lit.editors.closed_form.key_covariance import RESOLUTION, Spectrum


class Preconditioner(ABC):
    """A symmetric positive semi-definite matrix A [N, N] that says which key directions are free to use."""

    @abstractmethod
    def __matmul__(self, keys_NB: Tensor) -> Tensor:
        """A times keys, [N, B], float64."""

    @property
    @abstractmethod
    def condition(self) -> float:
        """Largest over smallest eigenvalue of what had to be inverted to get A; infinite if it is singular."""

    @property
    def unresolved(self) -> int:
        """How many directions of what had to be inverted are rounding; 0 for what inverts nothing."""
        return 0


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
    ENCORE's norm constraint (arXiv 2502.01636); ``ridge`` says the same relative to the size of C. Eigenvalues of what
    is inverted are raised to ``RESOLUTION`` of the largest, so that the directions that no key of the corpus uses are
    all equally free, and not as free as rounding has it.

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
        values_N, vectors_NN = self._inverted(), self.spectrum.vectors
        values_N = values_N.clamp(min=float(RESOLUTION * values_N[-1]))
        return vectors_NN @ ((vectors_NN.T @ keys_NB.double()) / values_N[:, None])

    @property
    def condition(self) -> float:
        """Largest over smallest eigenvalue of the matrix that is inverted; infinite if some are rounding."""
        values_N = self._inverted()
        return float("inf") if self.unresolved else float(values_N[-1] / values_N[0])

    @property
    def unresolved(self) -> int:
        """How many eigenvalues of the matrix that is inverted are below ``RESOLUTION`` of the largest."""
        values_N = self._inverted()
        return int((values_N < RESOLUTION * values_N[-1]).sum())

    def _inverted(self) -> Tensor:
        """Eigenvalues of the matrix that is inverted, smallest first, [N]."""
        values_N = self.spectrum.values
        return self.weight * (values_N + self.ridge * values_N.mean()) + self.damping


def warn_of_unresolved_directions(preconditioners: Mapping[int, Preconditioner]) -> None:
    """Warn of layers where an edit is free to use directions that the corpus says nothing about.

    Args:
        preconditioners: The preconditioner of each layer.
    """
    found = {layer: matrix.unresolved for layer, matrix in preconditioners.items() if matrix.unresolved}
    if found:
        named = ", ".join(f"{count} at layer {layer}" for layer, count in found.items())
        warnings.warn(
            f"the corpus's keys leave directions unused where the second moment is nothing but rounding ({named}). "
            "An edit writes into them at no cost to preserved keys, and may grow large. Set a ridge (ENCORE: "
            "norm_weight), or give key_covariance a longer corpus.",
            stacklevel=3,
        )
