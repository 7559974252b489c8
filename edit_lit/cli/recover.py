"""The verb ``recover``: whether the lost edits of a run are gone or hidden."""

from __future__ import annotations

import logging
from pathlib import Path

from edit_lit.cli.finished_run import FinishedRun
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import Rule
from edit_lit.pages.run_page import write_run_page
from edit_lit.recoverability import Battery, Side, lost_edits, trained_control
from edit_lit.recoverability.file import write_recoverability
from edit_lit.recoverability.relearning import Relearning
from edit_lit.recoverability.table import notes, tables, write_tables
from edit_lit.reports.terminal import print_table

log = logging.getLogger(__name__)


def recover(run: str, rule: str, control: str | None, top: int, steps: int) -> None:
    """Test the lost edits of a finished run, print the tables, and write them into its folder.

    Args:
        run: The run's folder.
        rule: The success rule.
        control: Folder of the same run without the edit; the unedited model is the control if not given.
        top: The k of the tests that look at ranks.
        steps: Optimizer steps of relearning.
    """
    relearning, folder = Relearning(steps), Path(run)
    Battery(Rule(rule), top, relearning)  # refuses what is out of range before anything is loaded
    finished = FinishedRun.load(folder)
    curve = list(finished.run.curve(Pool.EDITED).values())
    edits = lost_edits(finished.run.before(Pool.EDITED), curve[0], curve[-1], Rule(rule))
    if not edits.lost:
        log.info("no edit is lost at step %d by rule %s: all %d are alive", finished.step, rule, len(edits.alive))
        return
    battery = Battery(Rule(rule), top, Relearning(steps, optimizer=finished.fine_tuner.optimizer))
    result = battery.run(finished.states, finished.requests, edits, finished.step, _control(finished, control))
    written = write_recoverability(folder, result), write_tables(folder, result)
    log.info("written: %s, %s and %s", *written, write_run_page(finished.run, Rule(rule)))
    for place, table in enumerate(tables(result)):
        print_table(table.title, table.header, table.rows, () if place else notes(result))


def _control(finished: FinishedRun, folder: str | None) -> Side | None:
    if folder is None:
        return None
    weights = finished.control_weights(Path(folder))
    return trained_control(finished.states, weights, f"{folder}, fine-tuned without the edit")
