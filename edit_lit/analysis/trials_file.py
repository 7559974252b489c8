"""``trials.csv``: one row per trial, with its labels, its state and its last numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edit_lit.analysis.quantities import MORE, SCORES, SURVIVAL
from edit_lit.analysis.sweep import Sweep
from edit_lit.analysis.trial_result import TrialResult
from edit_lit.reports.table_files import write_records

TRIALS = "trials.csv"


def write_trials(sweep: Sweep, results: Sequence[TrialResult]) -> None:
    """Write ``trials.csv`` into a sweep's folder.

    Survival counts up to each trial's own last probe here, whose step is in the row. A trial that is not finished has
    no numbers: they would be none of its last.
    """
    write_records(sweep.folder / TRIALS, [_row(sweep, result) for result in results])


def _row(sweep: Sweep, result: TrialResult) -> dict[str, object]:
    quantities = dict.fromkeys((*SURVIVAL, *SCORES, *MORE))
    samples = {
        quantity.name: result.sample(quantity.name, result.last_step) if result.finished else None
        for quantity in quantities
    }
    return {
        "trial": result.trial.address,
        **{f"axis {axis}" if axis in _OWN else axis: label for axis, label in result.trial.labels.items()},
        "state": result.state,
        "why": result.why,
        "last_step": result.last_step,
        **{name: sample.mean if sample is not None else math.nan for name, sample in samples.items()},
        "edit_seconds": result.edit_seconds,
        "seconds": result.seconds,
        "folder": str(result.trial.folder.relative_to(sweep.folder)),
    }


_OWN = {
    *("trial", "state", "why", "last_step", "edit_seconds", "seconds", "folder"),
    *(quantity.name for quantity in (*SURVIVAL, *SCORES, *MORE)),
}
