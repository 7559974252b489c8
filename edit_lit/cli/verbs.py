"""The verbs that need no trainer: ``report`` and ``merge``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

from callbacks.run_report import print_table
from edit_lit.deltas import Delta
from edit_lit.measures.scores import Rule
from edit_lit.reports.report import report_comparison, report_run
from edit_lit.reports.run import find_runs
from edit_lit.reports.table import COMPARISON_HEADER, HEADER, run_table
from edit_lit.utilities.errors import ConfigError

log = logging.getLogger(__name__)


def report(runs: Sequence[str], rule: str, output: str | None) -> None:
    """Draw figures and tables from the folders of runs, and compare the runs if there are several.

    Args:
        runs: Folders of runs, or folders that hold some.
        rule: The success rule of the figures.
        output: Where the comparison goes; ``report/`` in the first named folder if not given.
    """
    found = find_runs([Path(path) for path in runs])
    for run in found:
        log.info("written: %s", report_run(run, Rule(rule)))
    if len(found) == 1:
        print_table(f"Did the edits survive? {found[0].name}", HEADER, run_table(found[0]))
        return
    folder = Path(output or Path(runs[0]) / "report")
    rows = report_comparison(found, folder, Rule(rule))
    log.info("written: %s", folder)
    print_table("Which edits survived?", COMPARISON_HEADER, rows)


def merge(deltas: Sequence[str], output: str) -> None:
    """Write several edits of one unedited model as one.

    Args:
        deltas: Files of Deltas; where two change the same weight, their updates add up.
        output: Where the merged Delta is written.
    """
    if len(deltas) < 2:
        raise ConfigError(f"merge was given {len(deltas)} Delta. Name two or more.")
    reduce(Delta.merge, [Delta.load(path) for path in deltas]).save(output)
    log.info("the merged Delta is in %s", output)
