"""The verbs that need no trainer: ``report`` and ``merge``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

from edit_lit.analysis.collect import FACTS, RESULTS
from edit_lit.analysis.sweep_report import SweepOptions, report_sweep
from edit_lit.analysis.trials_file import TRIALS
from edit_lit.deltas import Delta
from edit_lit.measures.scores import Rule
from edit_lit.pages.comparison_page import write_comparison_page
from edit_lit.pages.run_page import write_run_page
from edit_lit.reports.paired_table import PAIRED_HEADER, paired_table
from edit_lit.reports.report import report_comparison, report_run
from edit_lit.reports.run import find_runs
from edit_lit.reports.series import Series, find_series
from edit_lit.reports.series_record import FILE as SERIES
from edit_lit.reports.series_table import report_series, series_header
from edit_lit.reports.table import COMPARISON_HEADER
from edit_lit.reports.terminal import print_run, print_table
from edit_lit.sweeps.folder import TRIALS as TRIALS_LIST
from edit_lit.sweeps.folder import SweepFolder, TrialList
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.progress import progress
from edit_lit.utilities.run_files import newest_run

log = logging.getLogger(__name__)

_ON_THE_TERMINAL = ("arms", "differences", "left_out")
_LONGEST = 40


def report(runs: Sequence[str], rule: str, output: str | None) -> None:
    """Draw figures and tables from the folders of runs, and compare the runs if there are several.

    Args:
        runs: Folders of runs, or folders that hold some.
        rule: The success rule of figures and tables.
        output: Where the comparison goes; ``report/`` in the first named folder if not given.
    """
    series = find_series([Path(path) for path in runs])
    if series:
        report_all_series([Series.read(folder) for folder in series], output)
    found = find_runs([Path(path) for path in runs], apart=series)
    if series and not found.runs and not found.left_out:
        return
    for run in progress(found.runs, "reports", "runs"):
        log.info("written: %s", report_run(run, Rule(rule)))
        write_run_page(run, Rule(rule))
    if len(found.runs) == 1:
        for line in found.left_out:
            log.warning("left out: %s", line)
        print_run(found.runs[0], Rule(rule))
        return
    folder = Path(output or Path(runs[0]) / "report")
    rows, notes = report_comparison(found.runs, folder, Rule(rule), found.left_out)
    log.info("written: %s", write_comparison_page(found.runs, folder, Rule(rule), found.left_out))
    print_table("Which edits survived?", COMPARISON_HEADER, rows, notes)
    pairs, of_pairs = paired_table(found.runs, Rule(rule))
    if pairs:
        print_table("The same facts, run by run", PAIRED_HEADER, pairs, of_pairs)


def report_all_series(series: Sequence[Series], output: str | Path | None) -> None:
    """Write the pooled table of series of cycles, and print it.

    Args:
        series: The series.
        output: Where the table goes; ``report/`` in the first one's folder if not given.
    """
    target = Path(output) if output is not None else series[0].folder / "report"
    rows, notes = report_series(series, target)
    log.info("written: %s", target)
    print_table("What did fine-tuning leave of the edits of each cycle?", series_header(series), rows, notes)


def report_of_sweep(runs: Sequence[str], options: SweepOptions, output: str | None) -> None:
    """Collect the results of a sweep, and draw its tables and figures.

    Args:
        runs: The sweep's folder.
        options: How it is reported.
        output: Where tables and figures go; ``report/`` in the sweep's folder if not given.
    """
    if len(runs) > 1:
        raise ConfigError(f"{holds_sweep(runs)} holds a sweep, which is reported by itself. Name it alone.")
    report = report_sweep(Path(runs[0]), options, Path(output) if output is not None else None)
    series = _series_of(SweepFolder(Path(runs[0])))
    if series:
        report_series(series, report.folder)
    log.info("written: %s, and %s in %s", report.folder, ", ".join((RESULTS, FACTS, TRIALS)), runs[0])
    first, *others = [table for table in report.tables if table.name in _ON_THE_TERMINAL]
    print_table(first.title, first.header, first.rows, (*report.notes, *first.notes))
    for table in others:
        if len(table.rows) > _LONGEST:
            log.info("%s has %d lines", report.folder / f"{table.name}.md", len(table.rows))
        else:
            print_table(table.title, table.header, table.rows, table.notes)


def _series_of(folder: SweepFolder) -> list[Series]:
    """The trials of a sweep that are series of cycles and have begun."""
    listed = TrialList.read(folder)
    trials = listed.trials if listed is not None else []
    found = [(trial, newest_run(folder.trial(trial.address))) for trial in trials]
    return [Series.read(run, str(trial)) for trial, run in found if run is not None and (run / SERIES).exists()]


def holds_sweep(folders: Sequence[str]) -> str | None:
    """The first of some folders that holds a sweep; nothing if none does."""
    return next((folder for folder in folders if Path(folder, TRIALS_LIST).is_file()), None)


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
