"""The null space of preserved keys: directions in which a weight changes without changing their values.

Shape legend: N size of the MLP, B facts, R directions kept in the factor.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from edit_lit.editors.closed_form.key_covariance import RESOLUTION, Spectrum
from edit_lit.editors.closed_form.preconditioners import Preconditioner
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


class NullSpaceRule(ABC):
    """Says how many directions of C count as unused by the corpus."""

    @abstractmethod
    def free(self, values_N: Tensor) -> int:
        """How many of the eigenvalues, smallest first, belong to the null space."""


@dataclass(frozen=True)
class BelowValue(NullSpaceRule):
    """Eigenvalues below a fixed value, as AlphaEdit has it (its paper says 10⁻², its code 0.02).

    The value means something else for every model: it leaves 99.7 % of the directions of Llama-3 8B free, and far
    fewer of others.

    Args:
        threshold: The value.
    """

    threshold: float = 0.02

    def __post_init__(self) -> None:
        check_number("null_space.threshold", self.threshold, above=0)

    def free(self, values_N: Tensor) -> int:
        """Count the eigenvalues below the threshold."""
        return int((values_N < self.threshold).sum())


@dataclass(frozen=True)
class BelowShare(NullSpaceRule):
    """Eigenvalues below a share of the largest one, which means the same for every model.

    Args:
        share: The share; at least ``RESOLUTION``, below which eigenvalues are rounding.
    """

    share: float = 1e-4

    def __post_init__(self) -> None:
        if not RESOLUTION <= self.share < 1:
            raise ConfigError(
                f"null_space.share is {self.share}; it must lie between {RESOLUTION}, below which eigenvalues are "
                "rounding, and 1."
            )

    def free(self, values_N: Tensor) -> int:
        """Count the eigenvalues below that share."""
        return int((values_N < self.share * values_N[-1]).sum())


@dataclass(frozen=True)
class BeyondRank(NullSpaceRule):
    """All but a fixed number of leading directions.

    Directions that the corpus does not use at all are free whatever the rank: which of them are the leading ones is
    rounding.

    Args:
        rank: How many directions are preserved, at most.
    """

    rank: int = 64

    def __post_init__(self) -> None:
        check_number("null_space.rank", self.rank, least=1)

    def free(self, values_N: Tensor) -> int:
        """Count what is left beyond the rank, or what the corpus does not use if that is more."""
        unused = int((values_N < RESOLUTION * values_N[-1]).sum())
        return max(len(values_N) - self.rank, unused)


class NullSpace(Preconditioner):
    """A = P / l2, with P = I − U₁U₁ᵀ the projector onto the null space of C (AlphaEdit, arXiv 2410.02355).

    U₁ are the eigenvectors outside the null space. Whichever of the two sets of eigenvectors is smaller is kept;
    ``free`` says how many directions belong to the null space.

    Args:
        spectrum: Eigendecomposition of C.
        rule: Which directions belong to the null space.
        l2: The weight of the update's norm against the errors of the edits.
    """

    def __init__(self, spectrum: Spectrum, rule: NullSpaceRule, l2: float) -> None:
        size = len(spectrum.values)
        self.l2 = l2
        self.free = rule.free(spectrum.values)
        self._keeps_free = self.free <= size - self.free
        # A copy, so that the other eigenvectors can be let go.
        kept = slice(0, self.free) if self._keeps_free else slice(self.free, size)
        self._vectors_NR = spectrum.vectors[:, kept].clone()

    def __matmul__(self, keys_NB: Tensor) -> Tensor:
        keys_NB = keys_NB.double()
        inside_NB = self._vectors_NR @ (self._vectors_NR.T @ keys_NB)
        return (inside_NB if self._keeps_free else keys_NB - inside_NB) / self.l2

    @property
    def condition(self) -> float:
        """1: a projector inverts nothing."""
        return 1.0
