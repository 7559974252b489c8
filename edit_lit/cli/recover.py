"""The verb ``recover``: whether the lost edits of a run, or those that an eraser took out, are gone or hidden."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from edit_lit.cli.erased_model import ErasedModel, erasure
from edit_lit.cli.finished_run import FinishedRun
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import Rule
from edit_lit.pages.run_page import write_run_page
from edit_lit.recoverability import Battery, LostEdits, Side, erased_side, lost_edits, lost_since, trained_control
from edit_lit.recoverability.file import write_recoverability
from edit_lit.recoverability.relearning import Relearning
from edit_lit.recoverability.table import notes, tables, write_tables
from edit_lit.reports.terminal import print_table

log = logging.getLogger(__name__)


def recover(run: str, rule: str, control: str | None, top: int, steps: int, erased: str | None = None) -> None:
    """Test the lost edits of a finished run, print the tables, and write them into its folder.

    Args:
        run: The run's folder.
        rule: The success rule.
        control: Folder of the same run without the edit; the unedited model is the control if not given.
        top: The k of the tests that look at ranks.
        steps: Optimizer steps of relearning.
        erased: Folder that ``erase`` wrote: what is tested is that model, and the tables go there.
    """
    relearning, folder = Relearning(steps), Path(run)
    Battery(Rule(rule), top, relearning)  # refuses what is out of range before anything is loaded
    if erased is not None:
        erasure(Path(erased))
    finished = FinishedRun.load(folder)
    curve = list(finished.run.curve(Pool.EDITED).values())
    edits = lost_edits(finished.run.before(Pool.EDITED), curve[0], curve[-1], Rule(rule))
    tested = None if erased is None else _erased(finished, Path(erased))
    if tested is not None:
        edits = _lost_in(finished, tested, edits, Rule(rule))
    if not edits.lost:
        where = "" if tested is None else f" in {tested.name}"
        log.info(
            "no edit is lost at step %d by rule %s%s: all %d are alive", finished.step, rule, where, len(edits.alive)
        )
        return
    battery = Battery(Rule(rule), top, Relearning(steps, optimizer=finished.fine_tuner.optimizer))
    beside = _control(finished, control)
    result = battery.run(finished.states, finished.requests, edits, finished.step, beside, tested)
    place = folder if erased is None else Path(erased)
    written = [write_recoverability(place, result), write_tables(place, result)]
    if tested is None:
        written.append(write_run_page(finished.run, Rule(rule)))
    log.info("written: %s", " and ".join([", ".join(map(str, written[:-1])), str(written[-1])]))
    for number, table in enumerate(tables(result)):
        print_table(table.title, table.header, table.rows, () if number else notes(result))


def _erased(finished: FinishedRun, folder: Path) -> Side:
    found = ErasedModel.load(finished, folder)
    return erased_side(finished.states, found.weights, f"the model erased by {found.eraser}")


def _lost_in(finished: FinishedRun, tested: Side, edits: LostEdits, rule: Rule) -> LostEdits:
    """Which of the edits that were alive the erased model does not answer."""
    bare = [replace(request, paraphrases=(), neighborhood=(), portability=()) for request in finished.requests]
    probe = Probe(bare, finished.language_model.tokenizer)
    with tested.enter():
        return lost_since(edits, probe.run(finished.language_model), rule)


def _control(finished: FinishedRun, folder: str | None) -> Side | None:
    if folder is None:
        return None
    weights = finished.control_weights(Path(folder))
    return trained_control(finished.states, weights, f"{folder}, fine-tuned without the edit")
