"""A sweep of series: each cycle of a series is a run of its arm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from edit_lit.analysis.sweep import Sweep, Trial
from edit_lit.reports.series_record import SeriesRecord
from edit_lit.sweeps.sweep_file import CYCLE
from edit_lit.utilities.run_files import newest_run

NONE_BEGUN = "none begun"


def with_cycles(sweep: Sweep) -> Sweep:
    """The same sweep with the cycles of its series in their stead; a sweep without series is given back as it is.

    Cycles of several series have the same label if they have the same number and edit the same facts, so that arms are
    paired by facts.

    Raises:
        ConfigError: If the record of a series is damaged.
    """
    found = [list(_cycles(trial)) for trial in sweep.trials]
    if not any(found):
        return sweep
    trials = [
        one
        for trial, cycles in zip(sweep.trials, found, strict=True)
        for one in cycles or [replace(trial, labels={**trial.labels, CYCLE: NONE_BEGUN})]
    ]
    labels = tuple(dict.fromkeys(trial.labels[CYCLE] for trial in trials))
    axes = {**sweep.axes, CYCLE: labels}
    return replace(sweep, axes=axes, replicates=(*sweep.replicates, CYCLE), trials=trials, unit="cycles")


def _cycles(trial: Trial) -> Iterator[Trial]:
    run = newest_run(trial.folder)
    record = SeriesRecord.read(run) if run is not None else None
    if run is None or record is None:
        return
    for cycle in record.cycles:
        labels = {**trial.labels, CYCLE: cycle.name.removeprefix("cycle ")}
        yield Trial(f"{trial.address}-{cycle.folder}", labels, run / cycle.folder, is_cycle=True)
