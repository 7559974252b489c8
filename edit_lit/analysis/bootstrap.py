"""Means over runs with intervals from a hierarchical bootstrap: runs are drawn, and within each of them facts.

The run is the unit: its facts share every gradient step, so that a thousand facts of one run say nothing of another
run. See Davison and Hinkley, *Bootstrap Methods and their Application* (1997), section 3.8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edit_lit.measures.scores import wilson_interval

Values = NDArray[np.float64]

LEAST_RUNS = 5
"""Runs below which there is no interval, and no difference is called one."""

RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A mean over runs.

    Args:
        values: The mean of each run, over its facts.
        facts: How many facts are behind them, over all runs.
        low: Lower end of the 95 % percentile interval; NaN with fewer than ``LEAST_RUNS`` runs.
        high: Its upper end.
    """

    values: tuple[float, ...]
    facts: int
    low: float = math.nan
    high: float = math.nan

    @property
    def runs(self) -> int:
        """How many runs it is a mean of."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """The mean over runs, each with equal weight; NaN without any."""
        return math.fsum(self.values) / len(self.values) if self.values else math.nan

    @property
    def has_interval(self) -> bool:
        """Whether there are enough runs for an interval."""
        return not math.isnan(self.low)

    @property
    def leaves_out_zero(self) -> bool:
        """Whether there is an interval and 0 is not in it."""
        return self.has_interval and (self.low > 0 or self.high < 0)


def estimate(runs: Sequence[Values], resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The mean over runs of their means over facts, and its interval.

    Args:
        runs: For each run one number per fact, or a single number of the whole run.
        resamples: How often runs and facts are drawn.
        seed: Seed of the draws.
    """
    given = [np.asarray(values, dtype=np.float64) for values in runs if len(values)]
    means = tuple(float(values.mean()) for values in given)
    facts = sum(len(values) for values in given)
    if len(given) < LEAST_RUNS:
        return Estimate(means, facts)
    low, high = percentile_interval(resampled_run_means(given, resamples, np.random.default_rng(seed)))
    return Estimate(means, facts, low, high)


def share_of_runs(right: Sequence[Values]) -> Estimate:
    """The share of runs whose only fact is right, with Wilson's interval, which has a width where all are alike.

    Args:
        right: For each run 0 or 1 of its one fact, [1].
    """
    values = tuple(float(value) for of_run in right for value in of_run)
    if len(values) < LEAST_RUNS:
        return Estimate(values, len(values))
    return Estimate(values, len(values), *wilson_interval(round(math.fsum(values)), len(values)))


def resampled_run_means(runs: Sequence[Values], resamples: int, rng: np.random.Generator) -> Values:
    """Bootstrap draws of the mean over runs, [resamples].

    In each of them as many runs are drawn with replacement as there are, and within every drawn run as many facts as it
    has. A run that is drawn twice has its facts drawn twice.
    """
    drawn = rng.integers(len(runs), size=(resamples, len(runs)))
    means = np.empty(drawn.shape)
    for number, values in enumerate(runs):
        where = drawn == number
        means[where] = resampled_means(values, int(where.sum()), rng)
    return means.mean(axis=1)


def resampled_means(values: Values, size: int, rng: np.random.Generator) -> Values:
    """Means of as many draws with replacement as there are values, [size].

    Only how often each distinct value is drawn matters, which is multinomial: drawing these counts has the same
    distribution as drawing places, and takes as many draws as there are distinct values.
    """
    levels, counts = np.unique(values, return_counts=True)
    if len(levels) == 1:
        return np.full(size, levels[0])
    if 4 * len(levels) > len(values):
        return values[rng.integers(len(values), size=(size, len(values)))].mean(axis=1)
    return rng.multinomial(len(values), counts / len(values), size=size) @ levels / len(values)


def percentile_interval(draws: Values, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of bootstrap draws."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
