"""The table behind a regression on first losses: one row for each fact and each interval that it entered alive.

Legend: R rows, C covariates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edit_lit.analysis.fact_curves import FactCurve
from edit_lit.analysis.study import Study
from edit_lit.measures.outcomes import Pool

Values = NDArray[np.float64]
Codes = NDArray[np.int64]


NEGLIGIBLE = 1e-5
"""The share of a number that may be the rounding of a model in single precision."""


@dataclass(frozen=True)
class PersonProbes:
    """Facts at risk, interval by interval.

    Args:
        died_R: 1 if the fact was first lost in this interval, else 0.
        covariates_RC: What is known of the fact, each column with mean 0 and standard deviation 1 over facts.
        interval_R: The interval, numbered.
        arm_R: The arm, numbered.
        run_R: The run, numbered.
        fact_R: The fact by its content, numbered.
        names: The covariates' names.
        scales: The standard deviation of each before it was made 1.
        left_out: Covariates that are not among them, each with the reason.
    """

    died_R: Values
    covariates_RC: Values
    interval_R: Codes
    arm_R: Codes
    run_R: Codes
    fact_R: Codes
    names: tuple[str, ...]
    scales: Values
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.died_R)

    def where(self, chosen_R: NDArray[np.bool_]) -> PersonProbes:
        """Some of the rows."""
        codes = {name: getattr(self, name)[chosen_R] for name in ("interval_R", "arm_R", "run_R", "fact_R")}
        return replace(self, died_R=self.died_R[chosen_R], covariates_RC=self.covariates_RC[chosen_R], **codes)

    def only(self, kept_C: NDArray[np.bool_], why: str) -> PersonProbes:
        """Some of the covariates, and why the others are left out."""
        dropped = tuple(f"{name} ({why})" for name, kept in zip(self.names, kept_C, strict=True) if not kept)
        return replace(
            self,
            covariates_RC=self.covariates_RC[:, kept_C],
            names=tuple(name for name, kept in zip(self.names, kept_C, strict=True) if kept),
            scales=self.scales[kept_C],
            left_out=(*self.left_out, *dropped),
        )

    def informative(self) -> PersonProbes:
        """Without intervals and arms in which no fact was lost, or every one: their intercepts would be infinite."""
        table = self
        while True:
            kept = np.ones(len(table), dtype=bool)
            for codes in (table.interval_R, table.arm_R):
                kept &= np.isin(codes, [code for code in np.unique(codes) if _mixed(table.died_R[codes == code])])
            if kept.all():
                return table
            table = table.where(kept)

    def intercepts(self, intervals: Codes, arms: Codes) -> Values:
        """A column of 0 and 1 for each interval, and one for each arm but the first, [R, …]."""
        columns = [self.interval_R == code for code in intervals] + [self.arm_R == code for code in arms[1:]]
        return np.stack(columns, axis=1).astype(np.float64)


def _mixed(died: Values) -> bool:
    return 0 < died.sum() < len(died)


def person_probes(study: Study) -> PersonProbes | None:
    """The table of a sweep's finished runs that edit; nothing if they have none, or no covariate that varies.

    A covariate that a fact lacks, as in runs without drift or of an earlier version, is left out altogether, and so is
    one that is the same for all facts.
    """
    results = [(place, r) for place, r in enumerate(study.finished) if r.pool is Pool.EDITED and r.covariates]
    if not results:
        return None
    given = [result.covariates for _, result in results]
    everything = dict.fromkeys(name for of in given for name in of)
    names = [name for name in everything if all(name in of and np.isfinite(of[name]).all() for of in given)]
    lacked = tuple(f"{name} (not known of every fact)" for name in everything if name not in names)
    intervals: dict[tuple[int, int], int] = {}
    facts: dict[str, int] = {}
    blocks = []
    for place, result in results:
        arm = study.arms.index(study.sweep.arm_of(result.trial))
        rows = list(_at_risk(result.curves[Pool.EDITED]))
        values_FC = np.array([result.covariates[name] for name in names]).reshape(len(names), -1).T
        codes = [
            (died, intervals.setdefault(span, len(intervals)), arm, place, facts.setdefault(name, len(facts)))
            for _, died, span, name in rows
        ]
        if rows:
            blocks.append((values_FC[[fact for fact, *_ in rows]], np.array(codes)))
    return _table(blocks, names, lacked) if names and blocks else None


def _at_risk(curve: FactCurve) -> Iterator[tuple[int, int, tuple[int, int], str]]:
    """Each fact and interval that it entered alive: its place, whether it was first lost there, the steps, its name."""
    assert curve.fates is not None
    steps = curve.steps.tolist()
    losses = zip(*(codes.tolist() for codes in curve.fates.first_losses()), strict=True)
    for fact, (last, kind) in enumerate(losses):
        for probe in range(1, last + 1):
            yield fact, int(probe == last and kind >= 0), (steps[probe - 1], steps[probe]), curve.facts[fact]


def _table(
    blocks: Sequence[tuple[Values, Codes]], names: Sequence[str], left_out: tuple[str, ...]
) -> PersonProbes | None:
    values_RC = np.concatenate([values for values, _ in blocks])
    codes = np.concatenate([of_block for _, of_block in blocks])
    _, first = np.unique(codes[:, 3:], axis=0, return_index=True)
    means, scales = values_RC[first].mean(axis=0), values_RC[first].std(axis=0)
    # A deviation that is one of rounding would be blown up to 1.
    varies = scales > NEGLIGIBLE * np.abs(values_RC[first]).max(axis=0)
    if not varies.any():
        return None
    table = PersonProbes(
        died_R=codes[:, 0].astype(np.float64),
        covariates_RC=(values_RC - means) / np.where(varies, scales, 1),
        interval_R=codes[:, 1],
        arm_R=codes[:, 2],
        run_R=codes[:, 3],
        fact_R=codes[:, 4],
        names=tuple(names),
        scales=scales,
        left_out=left_out,
    )
    return table.only(varies, "the same for all facts")
