"""Results of sweeps that a test makes up number by number, without files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from edit_lit.analysis.fact_curves import FactCurve
from edit_lit.analysis.quantities import ACCURACY, INTRINSIC, LOSS, RETENTION
from edit_lit.analysis.samples import Sample
from edit_lit.analysis.study import Study
from edit_lit.analysis.sweep import Sweep, Trial
from edit_lit.analysis.trial_result import TrialResult
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import Rule

SEEDS = tuple("01234")


def sample(values: Sequence[float], facts: Sequence[str] | None = None) -> Sample:
    """Numbers of facts, called f0, f1, … if not given."""
    return Sample(np.array(values, dtype=float), tuple(facts or (f"f{place}" for place in range(len(values)))))


def study(
    axes: Mapping[str, Sequence[str]],
    numbers: Callable[[Mapping[str, str]], Mapping[str, float | Sample] | None],
    replicates: Sequence[str] = ("seed",),
    rule: Rule = Rule.EXACT,
    last_step: Callable[[Mapping[str, str]], int] = lambda labels: 100,
) -> Study:
    """A sweep over the product of axes; a trial without numbers has failed. All were probed at 0 and a last step."""
    trials = [
        Trial(f"{place:04x}", dict(zip(axes, labels, strict=True)), Path("s", "trials", str(place)))
        for place, labels in enumerate(product(*axes.values()))
    ]
    sweep = Sweep(Path("s"), "made up", {axis: tuple(labels) for axis, labels in axes.items()}, replicates, trials)
    return Study(sweep, [_result(trial, numbers(trial.labels), last_step(trial.labels)) for trial in trials], rule)


def _result(trial: Trial, numbers: Mapping[str, float | Sample] | None, last_step: int) -> TrialResult:
    if numbers is None:
        return TrialResult(trial, "failed", "OSError: disk full")
    samples = {name: value if isinstance(value, Sample) else Sample.of_run(value) for name, value in numbers.items()}
    curves = {}
    if RETENTION.name in samples and samples[RETENTION.name].facts:
        kept = samples[RETENTION.name]
        right = np.stack([np.ones(len(kept.values), bool), kept.values == 1])
        curves[Pool.EDITED] = FactCurve(np.array([0, last_step]), right, kept.facts)
    return TrialResult(trial, "finished", pool=Pool.EDITED, samples=samples, curves=curves)


__all__ = ["ACCURACY", "INTRINSIC", "LOSS", "RETENTION", "SEEDS", "sample", "study"]
