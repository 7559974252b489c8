"""Two runs over the same facts: which facts either of them kept alone, and whether that is more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 10_000


@dataclass(frozen=True)
class PairedFates:
    """How many facts two runs kept, of those that count in both.

    Args:
        both: Facts that both kept.
        first: Facts that the first one alone kept.
        second: Facts that the second one alone kept.
        neither: Facts that none of them kept.
    """

    both: int
    first: int
    second: int
    neither: int

    @classmethod
    def of(cls, first: Sequence[bool], second: Sequence[bool]) -> PairedFates:
        """Count the facts of two runs, given in the same order."""
        pairs = list(zip(first, second, strict=True))
        keys = ((True, True), (True, False), (False, True), (False, False))
        return cls(*(pairs.count(key) for key in keys))

    @property
    def facts(self) -> int:
        """All facts."""
        return self.both + self.first + self.second + self.neither

    @property
    def difference(self) -> float:
        """The share that the first kept minus that which the second kept; NaN without facts."""
        return (self.first - self.second) / self.facts if self.facts else math.nan

    @property
    def p(self) -> float:
        """The two-sided p-value of McNemar's exact test (Psychometrika 12, 1947).

        Of the facts that only one run kept, each could as well have been kept by the other: their number is binomial
        with a half. Facts are taken as independent, and of two runs it says nothing about other seeds.

        Examples:
            >>> PairedFates(both=30, first=9, second=2, neither=9).p
            0.0654296875
        """
        discordant = self.first + self.second
        tail = sum(math.comb(discordant, k) for k in range(min(self.first, self.second) + 1))
        return min(1.0, 2 * tail / 2**discordant)

    def interval(self) -> tuple[float, float]:
        """The 95 % percentile bootstrap interval of the difference over facts, with draws that are always the same."""
        if not self.facts:
            return math.nan, math.nan
        shares = np.array([self.first, self.second, self.both + self.neither]) / self.facts
        drawn = np.random.default_rng(0).multinomial(self.facts, shares, size=_RESAMPLES)
        low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / self.facts, [0.025, 0.975])
        return float(low), float(high)
