"""Singular values of the matrices into which editors write, and what of them an edit moves.

Shape legend: d outputs, n inputs, R = min(d, n) singular values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Spectrum:
    """The singular values of one matrix, and the lengths of its rows.

    Args:
        values_R: Singular values, in descending order, float64.
        rows_d: Euclidean norm of each row: what each channel of the residual stream can be given, float64.

    Examples:
        >>> spectrum = Spectrum.of(torch.diag(torch.tensor([4.0, 2.0, 1.0])))
        >>> spectrum.leading, round(spectrum.share(1), 3)
        (2.0, 0.762)
    """

    values_R: Tensor
    rows_d: Tensor

    @classmethod
    def of(cls, matrix: Tensor) -> Spectrum:
        """The spectrum of a matrix, [d, n].

        It comes from the Gram matrix of the smaller side in float64, which is several times faster than the singular
        value decomposition. Values below 1e-8 of the largest are lost in it; they count as nothing.
        """
        rows = matrix.detach().double()
        gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
        values = torch.linalg.eigvalsh(gram).flip(0).clamp(min=0).sqrt()
        values = torch.where(values > 1e-8 * values[0], values, torch.zeros_like(values))
        return cls(values.cpu(), rows.norm(dim=1).cpu())

    def above(self, edge: float) -> Spectrum:
        """The same with nothing in place of the singular values up to an edge.

        Args:
            edge: The largest value that counts as nothing.
        """
        return Spectrum(torch.where(self.values_R > edge, self.values_R, torch.zeros_like(self.values_R)), self.rows_d)

    @property
    def norm(self) -> float:
        """Frobenius norm."""
        return float(self.values_R.norm())

    @property
    def leading(self) -> float:
        """The largest singular value over the median one: how far the first direction stands out of the bulk.

        A random matrix has a bulk with a sharp edge (Marchenko and Pastur 1967), out of which a write of rank one
        stands once it is large enough. Infinite for a matrix of low rank, NaN for zero.
        """
        return _ratio(float(self.values_R[0]), float(self.values_R.median()))

    def share(self, count: int) -> float:
        """The share of the squared norm that the first directions have; NaN for zero.

        Args:
            count: How many directions.
        """
        squares = self.values_R.square()
        return _ratio(float(squares[:count].sum()), float(squares.sum()))

    @property
    def effective_rank(self) -> float:
        """The exponential of the entropy of the singular values as shares of their sum (Roy and Vetterli 2007).

        1 for a matrix of rank one, R for an orthogonal one, 0 for zero.
        """
        total = float(self.values_R.sum())
        if not total:
            return 0.0
        shares = self.values_R[self.values_R > 0] / total
        return math.exp(float(-(shares * shares.log()).sum()))

    @property
    def row_kurtosis(self) -> float:
        """Excess kurtosis of the rows' lengths, 0 for a normal distribution; NaN where all are equal."""
        moved = self.rows_d - self.rows_d.mean()
        spread = float(moved.square().mean())
        return _ratio(float(moved.pow(4).mean()), spread * spread) - 3


def _ratio(part: float, whole: float) -> float:
    if whole:
        return part / whole
    return math.inf if part else math.nan
