"""The verb ``explain``: why the edits of a run were lost."""

from __future__ import annotations

import logging
from pathlib import Path

from edit_lit.attribution.attribute import attribute
from edit_lit.attribution.file import write_attribution
from edit_lit.attribution.result import Attribution
from edit_lit.cli.devices import check_device
from edit_lit.cli.finished_run import FinishedRun, at_last_checkpoint
from edit_lit.measures.scores import Rule
from edit_lit.pages.run_page import write_run_page
from edit_lit.reports.causes import write_causes
from edit_lit.reports.run import Run
from edit_lit.reports.run_losses import check_explainable, recorded_losses
from edit_lit.reports.terminal import print_causes
from edit_lit.utilities.checks import check_number

log = logging.getLogger(__name__)


def explain(folder: Path, rule: Rule, pairs: int, seed: int, device: str | None) -> Attribution:
    """Find the cause of each lost edit of a run, print it, and write it into the run's folder.

    Args:
        folder: The run's folder.
        rule: The success rule by which edits are lost.
        pairs: Refine groups to layers by so many pairs of sampled orders; 0 for none.
        seed: Seed of these orders.
        device: Where the model is put; an accelerator if there is one.

    Raises:
        ConfigError: If something of the run is missing, damaged or of another run, or nothing can be explained.
    """
    check_number("--layers", pairs, least=0)
    if device is not None:
        check_device(device)
    run = Run.read(folder)
    check_explainable(run)
    recorded = recorded_losses(run, at_last_checkpoint(folder).step, rule)
    if recorded.losses.numbers:
        finished = FinishedRun.load(folder, device)
        found = attribute(finished.states, finished.requests, recorded, rule, pairs, seed)
    else:
        found = Attribution.of_nothing(recorded.step, rule, recorded.losses)
    path = write_attribution(folder, found)
    print_causes(run.name, found)
    log.info("written: %s, %s and %s", path, write_causes(folder, found), write_run_page(run, rule))
    return found
