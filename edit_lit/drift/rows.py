"""The drift of a run on disk: a Parquet data set with one file per probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from edit_lit.measures.outcome_files import recorded_steps
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.files import write_atomically

FOLDER = "drift.parquet"

FACT = "fact"
"""The part of the rows that say what an edited fact is like before the training: they are written once a run."""

NO_LAYER = -1
"""The layer of numbers that are of no block."""

_TYPES = {"step": pa.int64(), "layer": pa.int32(), "value": pa.float64()}


@dataclass(frozen=True)
class DriftRow:
    """One number about the drift since the edit, or about an edited fact right after it.

    Args:
        step: Optimizer steps taken.
        part: What drifted: ``representation``, ``direction``, ``key``, ``value`` or ``weight``; at a run's first probe
            also ``fact``, where nothing drifted: what an edited fact is like right after the edit.
        measure: What of it, such as ``cosine``.
        layer: The block, from 0; −1 for what is of no block.
        value: The number; NaN where there is none, as of a change that is 0.
        pool: The prompts: ``edited``, in a run that edits nothing ``unedited``, ``intrinsic`` or ``neutral``; none for
            weights.
        position: The token that was read: ``subject`` or ``last``; none for weights.
        fact: The edited fact's name by content; none where the number is one of a pool or a layer.
    """

    step: int
    part: str
    measure: str
    layer: int
    value: float
    pool: str | None = None
    position: str | None = None
    fact: str | None = None


_COLUMNS = [field.name for field in fields(DriftRow)]
_SCHEMA = pa.schema([(name, _TYPES.get(name, pa.string())) for name in _COLUMNS])


def write_rows(folder: Path, step: int, rows: Sequence[DriftRow]) -> None:
    """Write the rows of one probe, whole or not at all."""
    columns = {name: pa.array([getattr(row, name) for row in rows], _SCHEMA.field(name).type) for name in _COLUMNS}
    table = pa.table(columns, schema=_SCHEMA)
    write_atomically(drift_file(folder, step), lambda temporary: pq.write_table(table, temporary))


def drift_file(folder: Path, step: int) -> Path:
    """The file of one probe."""
    return folder / f"step_{step:09d}.parquet"


def read_drift(folder: Path) -> list[DriftRow]:
    """All rows of a run, by step.

    Args:
        folder: The data set, ``drift.parquet`` in the run's folder.

    Raises:
        ConfigError: If there is none, or a file is damaged.
    """
    steps = recorded_steps(folder)
    if not steps:
        raise ConfigError(f"{folder} holds no drift. Run with --drift.enabled true to have it measured.")
    return [row for step in steps for row in read_rows(drift_file(folder, step))]


def read_fact_rows(folder: Path) -> list[DriftRow]:
    """What each edited fact is like right after the edit, from a run's first probe; none in a run without drift.

    Args:
        folder: The data set, ``drift.parquet`` in the run's folder.

    Raises:
        ConfigError: If the file is damaged.
    """
    first = recorded_steps(folder)[:1]
    return [row for step in first for row in read_rows(drift_file(folder, step)) if row.part == FACT]


def read_rows(path: Path) -> list[DriftRow]:
    """The rows of one probe.

    Raises:
        ConfigError: If the file is damaged, or of another kind.
    """
    try:
        table = pq.read_table(path)
        if table.schema != _SCHEMA or any(table[name].null_count for name in _COLUMNS[:5]):
            raise ValueError("other columns, or gaps in them")
        return [DriftRow(**row) for row in table.to_pylist()]
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} is no whole record of the drift ({type(error).__name__}). Delete it to go on without this probe."
        ) from error
