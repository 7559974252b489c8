"""The per-fact table of a sweep: a Parquet data set with one file per trial.

One row per trial, step, pool, fact, kind and prompt, with every raw number that the scores are made of, so that facts
can be paired over runs by their content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from edit_lit.analysis.sweep import Trial
from edit_lit.measures.outcome_files import FOLDER, FactNames
from edit_lit.measures.outcomes import KINDS, Outcomes, Pool
from edit_lit.measures.scores import Rule, success
from edit_lit.reports.run import Run
from edit_lit.reports.run_record import FILE
from edit_lit.utilities.files import write_atomically

_SIGNATURE = b"edit_lit.source"
_FORMAT = 1
_CONTINUOUS = ("nll_answer", "nll_alternative", "margin")
_SEARCHED = ["step", "pool", "fact", "kind", "prompt"]


def write_facts(folder: Path, trial: Trial, state: str, run: Run, names: Mapping[Pool, FactNames]) -> None:
    """Write a trial's file, unless it is there and was made of the same files of the run.

    Args:
        folder: The data set's folder.
        trial: The trial.
        state: Its state.
        run: Its run.
        names: The names of its facts.
    """
    path, signature = folder / f"{trial.address}.parquet", _signature(trial, state, run.folder)
    if _is_of(path, signature):
        return
    parts = [
        _table(step, pool, outcomes, names[pool])
        for pool, probes in run.probes.items()
        for step, outcomes in probes.items()
    ]
    table = with_labels(pa.concat_tables(parts).unify_dictionaries(), trial, state)
    table = table.replace_schema_metadata({_SIGNATURE: signature})
    encoded = [name for name in table.column_names if name not in _CONTINUOUS]
    options = {"use_dictionary": encoded, "write_statistics": _SEARCHED}
    write_atomically(path, lambda temporary: pq.write_table(table, temporary, **options))


def drop_other_facts(folder: Path, addresses: set[str]) -> None:
    """Remove the files of trials that are no longer there."""
    for path in folder.glob("*.parquet"):
        if path.stem not in addresses:
            path.unlink()


def with_labels(table: pa.Table, trial: Trial, state: str) -> pa.Table:
    """A table with a trial's labels, address and state in front of each row.

    An axis that is called as one of the other columns gets the name ``axis <name>``.
    """
    own = {"trial", "state", *table.column_names}
    labels = {f"axis {name}" if name in own else name: label for name, label in trial.labels.items()}
    for place, (name, label) in enumerate({**labels, "trial": trial.address, "state": state}.items()):
        repeated = pa.DictionaryArray.from_arrays(np.zeros(table.num_rows, dtype=np.int32), pa.array([label]))
        table = table.add_column(place, name, repeated)
    return table


def _table(step: int, pool: Pool, outcomes: Outcomes, names: FactNames) -> pa.Table:
    who = outcomes.request.numpy()
    kinds = pa.array([str(kind) for kind in KINDS])
    columns = {
        "step": np.full(len(who), step, dtype=np.int64),
        "pool": pa.DictionaryArray.from_arrays(np.zeros(len(who), dtype=np.int32), pa.array([str(pool)])),
        **{
            name: pa.DictionaryArray.from_arrays(who.astype(np.int32), pa.array(values, pa.string()))
            for name, values in (("fact", names.fact), ("id", names.id), ("subject", names.subject))
        },
        "kind": pa.DictionaryArray.from_arrays(outcomes.kind.numpy().astype(np.int32), kinds),
        "prompt": outcomes.prompt.numpy().astype(np.int32),
        "prob": _numbers(success(outcomes, Rule.PROB)),
    }
    for name in ("exact", "token", "first", "nll"):
        answer, alternative = getattr(outcomes, name).unbind(1)
        columns |= {f"{name}_answer": _numbers(answer), f"{name}_alternative": _numbers(alternative)}
    columns["margin"] = _numbers(outcomes.nll[:, 1] - outcomes.nll[:, 0])
    return pa.table(columns)


def _numbers(values: torch.Tensor) -> pa.Array:
    """A column in which what is not a number is missing."""
    return pa.array(values.double().contiguous().numpy(), from_pandas=True)


def _signature(trial: Trial, state: str, run_folder: Path) -> bytes:
    """What a file was made of: format, labels, state, and the run's files by name, size and time of change."""
    paths = [*sorted((run_folder / FOLDER).glob("*.parquet")), run_folder / FILE]
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.exists()]
    made_of = [_FORMAT, dict(trial.labels), state, run_folder.name, files]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest().encode()


def _is_of(path: Path, signature: bytes) -> bool:
    try:
        return (pq.read_schema(path).metadata or {}).get(_SIGNATURE) == signature
    except (OSError, pa.ArrowException):
        return False
