"""Curves over steps with bands: means over the runs of an arm, or each run where there are few."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edit_lit.analysis.bootstrap import Estimate, estimate
from edit_lit.analysis.quantities import LOSS
from edit_lit.analysis.samples import Values
from edit_lit.analysis.study import Study
from edit_lit.analysis.sweep import Labels
from edit_lit.analysis.trial_result import TrialResult
from edit_lit.measures.outcomes import Pool

RESAMPLES = 1000

MAIN, INTRINSIC, DOWNSTREAM = "edited facts", "intrinsic facts", LOSS.title
"""What is drawn, one below the other."""


@dataclass(frozen=True)
class Band:
    """A curve of an arm.

    Args:
        steps: The steps that all of its runs have.
        estimates: The mean over runs at each of them.
        complete: Whether every run has no other steps.
    """

    steps: tuple[int, ...]
    estimates: tuple[Estimate, ...]
    complete: bool

    @property
    def has_band(self) -> bool:
        """Whether there are enough runs for an interval."""
        return bool(self.estimates) and self.estimates[0].has_interval


def bands(study: Study, arm: Labels) -> dict[str, Band]:
    """The curves of an arm by what they show: retention of the facts under study and of the control, and the loss."""
    runs = list(study.cells[arm].values())
    found = {
        MAIN: _band([_retention(run, run.pool) for run in runs]),
        INTRINSIC: _band([_retention(run, Pool.INTRINSIC) for run in runs]),
        DOWNSTREAM: _band([_loss(run) for run in runs]),
    }
    return {name: band for name, band in found.items() if band.steps}


def _retention(run: TrialResult, pool: Pool | None) -> Mapping[int, Values]:
    curve = run.curves.get(pool) if pool is not None else None
    if curve is None:
        return {}
    return {int(step): curve.at(place).values for place, step in enumerate(curve.steps)}


def _loss(run: TrialResult) -> Mapping[int, Values]:
    return {step: np.array([value]) for step, value in run.downstream.get("val_loss", ())}


def _band(runs: list[Mapping[int, Values]]) -> Band:
    given = [run for run in runs if run]
    if not given:
        return Band((), (), True)
    shared = sorted(set.intersection(*(set(run) for run in given)))
    estimates = tuple(estimate([run[step] for run in given], RESAMPLES, seed=step) for step in shared)
    return Band(tuple(shared), estimates, all(len(run) == len(shared) for run in given))
