"""Collecting a sweep's results: all of its runs as ``results.parquet``, ``facts.parquet`` and ``trials.csv``."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from edit_lit.analysis.fact_rows import drop_other_facts, with_labels, write_facts
from edit_lit.analysis.score_rows import as_columns, score_rows
from edit_lit.analysis.sweep import Sweep, Trial
from edit_lit.analysis.trial_result import TrialResult, digest, read_run
from edit_lit.measures.scores import Rule
from edit_lit.utilities.files import write_atomically
from edit_lit.utilities.progress import progress_bar

RESULTS = "results.parquet"
FACTS = "facts.parquet"

_SCORES = pa.schema(
    [
        ("step", pa.int64()),
        ("score", pa.string()),
        ("value", pa.float64()),
        ("pool", pa.string()),
        ("rule", pa.string()),
        ("count", pa.int64()),
        ("not_a_number", pa.int64()),
    ]
)
_READERS = 2


def collect(sweep: Sweep, rule: Rule = Rule.EXACT) -> list[TrialResult]:
    """Read all runs of a sweep, and write what they say into ``results.parquet`` and ``facts.parquet``.

    A run's part of ``facts.parquet`` is written anew only if a file of the run has changed.

    Args:
        sweep: The sweep.
        rule: The success rule of the numbers that are given back. The files have all rules.

    Returns:
        What each trial came to, in the order of the sweep's trials.
    """
    results: list[TrialResult] = []
    tables: list[pa.Table] = []
    drop_other_facts(sweep.folder / FACTS, {trial.address for trial in sweep.trials})
    with progress_bar("results", len(sweep.trials), sweep.unit) as bar:
        for result, table in _read(sweep, rule):
            results.append(result)
            if table is not None:
                tables.append(table)
            bar.update(1)
    if not tables:
        (sweep.folder / RESULTS).unlink(missing_ok=True)
    else:
        whole = pa.concat_tables(tables).unify_dictionaries()
        write_atomically(sweep.folder / RESULTS, lambda path: pq.write_table(whole, path))
    return results


def _read(sweep: Sweep, rule: Rule) -> Iterator[tuple[TrialResult, pa.Table | None]]:
    """All trials in order, a few read at a time."""

    def read(trial: Trial) -> tuple[TrialResult, pa.Table | None]:
        return _read_trial(sweep.folder, trial, rule)

    with ThreadPoolExecutor(_READERS) as pool:
        yield from pool.map(read, sweep.trials)


def _read_trial(folder: Path, trial: Trial, rule: Rule) -> tuple[TrialResult, pa.Table | None]:
    result, run, names = read_run(trial)
    if run is None:
        (folder / FACTS / f"{trial.address}.parquet").unlink(missing_ok=True)
        return result, None
    write_facts(folder / FACTS, trial, result.state, run, names)
    columns = as_columns(list(score_rows(run)))
    table = pa.table(columns, schema=_SCORES)
    return digest(result, run, names, rule), with_labels(table, trial, result.state)
