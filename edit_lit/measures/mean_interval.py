"""The mean of a few runs' numbers, with an interval over the runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from edit_lit.measures.scores import wilson_interval

FEWEST = 5
"""Runs below which there is no interval: it would be a guess."""

_RESAMPLES = 10_000


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval of one number a run.

    Where each is 0 or 1 it is Wilson's interval of a proportion; else the percentile bootstrap over runs (Efron 1979),
    with resamples that are always the same.

    Args:
        values: A number for each run.

    Returns:
        Mean, lower and upper bound; NaN without values, and NaN bounds below `FEWEST` values or where all are alike
        and neither 0 nor 1, so that nothing is known of how they vary.

    Examples:
        >>> [round(value, 3) for value in mean_interval([1.0] * 32 + [0.0] * 18)]
        [0.64, 0.501, 0.759]
        >>> mean_interval([0.5, 0.75])
        (0.625, nan, nan)
    """
    if not values:
        return math.nan, math.nan, math.nan
    mean = math.fsum(values) / len(values)
    if len(values) < FEWEST:
        return mean, math.nan, math.nan
    if set(values) <= {0.0, 1.0}:
        return mean, *wilson_interval(round(math.fsum(values)), len(values))
    if len(set(values)) == 1:
        return mean, math.nan, math.nan
    drawn = torch.randint(len(values), (_RESAMPLES, len(values)), generator=torch.Generator().manual_seed(0))
    means = torch.tensor(values, dtype=torch.float64)[drawn].mean(dim=1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return mean, low, high
