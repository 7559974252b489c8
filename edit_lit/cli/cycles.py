"""The verb ``cycles``: a series of short runs on one loaded model."""

from __future__ import annotations

import logging
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import lightning as L

from callbacks import RunCheckpoint
from callbacks.interruption import SIGNALS, Interrupted
from callbacks.slurm import job_id, requeue
from edit_lit.cli.verbs import report_all_series
from edit_lit.cycles import Series
from edit_lit.reports.series import Series as ReadSeries
from edit_lit.run_folder import hold

log = logging.getLogger(__name__)

MakeTrainer = Callable[[Path], L.Trainer]


def run_cycles(series: Series, checkpoint: RunCheckpoint, numbers: Sequence[int] | None) -> None:
    """Run a series, which a signal ends behind the step that is being trained, and report it.

    Args:
        series: The series.
        checkpoint: Ends its cycles when a signal asks for it.
        numbers: The cycles to run; all of them if not given.

    Raises:
        Interrupted: If it was asked to stop; finished cycles are kept.
    """
    with hold(series.folder):
        try:
            with checkpoint.interruption.listening(SIGNALS if job_id() else SIGNALS[:2]):
                series.run(numbers)
        except Interrupted as interrupted:
            if interrupted.signum == signal.SIGUSR1:
                requeue()
            name, folder = signal.Signals(interrupted.signum).name, shlex.quote(str(series.folder))
            log.warning("%s: the series stops; go on with: python -m edit_lit cycles --resume %s", name, folder)
            raise
    found = ReadSeries.read(series.folder)
    report_all_series([found], None)
    if not found.counted:
        log.error("no cycle is in the means, so there is no result")
        sys.exit(1)
