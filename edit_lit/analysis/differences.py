"""Arms against one of them: paired differences on the same replicates and the same facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edit_lit.analysis.bootstrap import Estimate, estimate
from edit_lit.analysis.quantities import Quantity
from edit_lit.analysis.samples import Values, paired
from edit_lit.analysis.study import Study
from edit_lit.analysis.sweep import Labels
from edit_lit.measures.permutation import holm, sign_flip_p

LEVEL = 0.05
"""The adjusted p-value up to which arms are called different."""


@dataclass(frozen=True)
class Difference:
    """An arm minus the reference arm, in one quantity.

    Args:
        arm: The arm.
        quantity: The quantity.
        estimate: The mean over pairs of runs, each over the facts that both have.
        p: Sign-flip p-value over pairs of runs; nothing without an interval.
        adjusted: The same adjusted for all comparisons of the table.
        unmatched: Why the arm must not be compared, if it was matched badly.
    """

    arm: Labels
    quantity: Quantity
    estimate: Estimate
    p: float | None = None
    adjusted: float | None = None
    unmatched: str = ""

    @property
    def differs(self) -> bool:
        """Whether both the interval and the test over pairs of runs, adjusted for all comparisons, say so."""
        return self.leans and self.adjusted is not None and self.adjusted <= LEVEL

    @property
    def leans(self) -> bool:
        """Whether there are at least five pairs of runs and the interval leaves out 0; of few runs it is too narrow."""
        return self.estimate.leaves_out_zero and not self.unmatched

    @property
    def verdict(self) -> str:
        """What may be said of it."""
        if self.unmatched:
            return f"not compared: {self.unmatched}"
        if not self.estimate.runs:
            return "no pair"
        if not self.estimate.has_interval:
            return "too few runs"
        if self.differs:
            return "differs"
        return "interval only" if self.leans else "not told apart"


def differences(
    study: Study,
    reference: Labels,
    arms: Sequence[Labels],
    quantities: Sequence[Quantity],
    flaws: Mapping[Labels, str] | None = None,
) -> list[Difference]:
    """Differences of arms against a reference arm, with p-values adjusted for all of them together.

    Runs are paired by their replicate's labels, and within a pair facts by their content. Of retention and survival
    those facts are compared that count in both runs: which were made right by the edit in both.

    Args:
        study: The sweep's results.
        reference: The arm that is subtracted.
        arms: The others.
        quantities: What is compared.
        flaws: Why an arm must not be compared, for those that were matched badly.
    """
    found = []
    for arm in arms:
        for quantity in quantities:
            result = estimate(_pairs(study, reference, arm, quantity))
            flaw = (flaws or {}).get(arm, "")
            p = sign_flip_p(result.values) if result.has_interval and not flaw else None
            found.append(Difference(arm, quantity, result, p, unmatched=flaw))
    adjusted = iter(holm([item.p for item in found if item.p is not None]))
    return [item if item.p is None else replace(item, adjusted=next(adjusted)) for item in found]


def _pairs(study: Study, reference: Labels, arm: Labels, quantity: Quantity) -> list[Values]:
    first, second = study.samples(reference, quantity), study.samples(arm, quantity)
    pairs = [paired(first[replicate], second[replicate]) for replicate in first if replicate in second]
    return [values for values in pairs if len(values)]
