"""What a run says of its facts, fact by fact, so that runs can be compared on the same ones."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Numbers of one run: one for each fact, or a single one of the run itself.

    Args:
        values: The numbers.
        facts: The facts' names by content, in the same order; none for a number of the run itself.
    """

    values: Values
    facts: tuple[str, ...] | None = None

    @property
    def is_yes_or_no(self) -> bool:
        """Whether it says of a single fact whether it is right."""
        return self.facts is not None and len(self.values) == 1 and float(self.values[0]) in (0.0, 1.0)

    @property
    def mean(self) -> float:
        """The mean over facts; NaN without any."""
        return float(self.values.mean()) if len(self.values) else float("nan")

    def among(self, facts: Collection[str], inside: bool = True) -> Sample | None:
        """Its numbers of some facts, or of all others; nothing if there is none."""
        assert self.facts is not None, "a number of the run itself is of no fact"
        kept = [place for place, fact in enumerate(self.facts) if (fact in facts) is inside]
        return Sample(self.values[kept], tuple(self.facts[place] for place in kept)) if kept else None

    @classmethod
    def of_run(cls, value: float) -> Sample:
        """A number of the run itself."""
        return cls(np.array([value]))


def paired(first: Sample, second: Sample) -> Values:
    """Differences second − first on the facts that both have, by the facts' names; of two numbers of runs theirs.

    Empty if they have no fact in common.
    """
    if first.facts is None or second.facts is None:
        return second.values - first.values if first.facts is second.facts else np.empty(0)
    place = {fact: number for number, fact in enumerate(first.facts)}
    shared = [(place[fact], number) for number, fact in enumerate(second.facts) if fact in place]
    if not shared:
        return np.empty(0)
    left, right = np.array(shared).T
    return second.values[right] - first.values[left]
