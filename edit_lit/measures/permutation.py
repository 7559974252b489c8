"""Tests of paired differences that assume nothing but symmetry, and their adjustment for many comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

MOST_EXACT = 12
"""Pairs up to which all sign flips are looked at."""


def sign_flip_p(differences: Sequence[float], resamples: int = 100_000, seed: int = 0) -> float:
    """Two-sided p-value of a permutation test on paired differences: each could as well have had the other sign.

    All 2ⁿ sign flips are looked at with 12 pairs or fewer, so that the smallest possible value is 2/2ⁿ: .0625 with
    five pairs. With more, as many are drawn as ``resamples`` says.

    Args:
        differences: One per pair of runs.
        resamples: Sign flips that are drawn where there are too many.
        seed: Seed of the draws.

    Examples:
        >>> sign_flip_p([0.1, 0.2, 0.1, 0.3, 0.2])
        0.0625
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) <= MOST_EXACT:
        signs = np.array(list(product((1.0, -1.0), repeat=len(values)))).reshape(-1, len(values))
    else:
        signs = np.random.default_rng(seed).choice([1.0, -1.0], size=(resamples, len(values)))
        signs[0] = 1.0
    # What differs by rounding alone is a tie.
    tolerance = 1e-9 * np.abs(values).sum()
    return float((np.abs(signs @ values) >= abs(values.sum()) - tolerance).mean())


def p_text(p: float) -> str:
    """A p-value as tables show it: never as 0, which no test can give.

    Examples:
        >>> p_text(0.0625), p_text(0.00001)
        ('0.0625', '< 0.0001')
    """
    return "< 0.0001" if p < 5e-5 else f"{p:.4f}"


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, in the order given (Holm, Scandinavian Journal of Statistics 6, 1979).

    Examples:
        >>> [round(p, 6) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted
