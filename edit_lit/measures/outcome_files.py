"""The raw outcomes of a run on disk: a Parquet data set with one file per probe.

One row per step, pool, request, kind and prompt, so that any later question can be answered without a rerun.
Read the folder with any Parquet reader, for instance ``pandas.read_parquet("…/retention.parquet")``.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from edit_lit.facts.request import EditRequest, fact_hash
from edit_lit.measures.curve import BEFORE_EDIT
from edit_lit.measures.outcomes import KINDS, Kind, Outcomes, Pool
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.files import write_atomically

FOLDER = "retention.parquet"
_PAIRS = ("nll", "exact", "token", "first")
_SIDES = ("answer", "alternative")
_ANSWERS = ["pool", "request", "kind", "prompt", *(f"{name}_{side}" for name in _PAIRS for side in _SIDES)]


@dataclass(frozen=True)
class FactNames:
    """What the facts of a pool are called, each in the place of its request.

    Args:
        fact: The fact's name by content, the same in all runs; see :func:`~edit_lit.facts.request.fact_hash`.
        id: The request's own name.
        subject: Its subject.
    """

    fact: Sequence[str]
    id: Sequence[str]
    subject: Sequence[str]


def write_probe(
    folder: Path, step: int, outcomes: Mapping[Pool, Outcomes], requests: Mapping[Pool, Sequence[EditRequest]]
) -> None:
    """Write the outcomes of one probe.

    Args:
        folder: The data set's folder.
        step: Optimizer steps taken, or −1 for the unedited model.
        outcomes: Outcomes by pool.
        requests: The pools' facts.
    """
    table = pa.concat_tables([_table(step, pool, rows, requests[pool]) for pool, rows in outcomes.items()])
    write_atomically(probe_file(folder, step), lambda temporary: pq.write_table(table, temporary))


def read_probes(folder: Path) -> dict[Pool, dict[int, Outcomes]]:
    """All outcomes by pool and step, steps in ascending order.

    Raises:
        ConfigError: If the folder holds no records.
    """
    steps = recorded_steps(folder)
    if not steps:
        raise ConfigError(f"{folder} holds no probe records. Name the folder of a run that has been probed.")
    probes: dict[Pool, dict[int, Outcomes]] = {}
    for step in steps:
        for pool, outcomes in read_probe(folder, step).items():
            probes.setdefault(pool, {})[step] = outcomes
    return probes


def read_probe(folder: Path, step: int) -> dict[Pool, Outcomes]:
    """The outcomes of one probe by pool.

    Raises:
        FileNotFoundError: If there is no record of this step.
        ConfigError: If the file is damaged, or of another kind.
    """
    path = probe_file(folder, step)
    try:
        table = pq.read_table(path, columns=_ANSWERS)
        by_pool = {pool: table.filter(pa.compute.equal(table["pool"], str(pool))) for pool in Pool}
        return {pool: _outcomes(rows) for pool, rows in by_pool.items() if rows.num_rows}
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError, RuntimeError) as error:
        remedy = "Delete it to go on without this probe." if step > 0 else "Run it again: retention is measured by it."
        raise ConfigError(f"{path} is no whole record of a probe ({type(error).__name__}). {remedy}") from error


def read_names(folder: Path, pools: Collection[Pool]) -> dict[Pool, FactNames]:
    """What the facts of some pools are called, each pool's by the first record that has it.

    Raises:
        ConfigError: If no record has a pool, or an earlier version wrote it, without the facts' names by content.
    """
    names: dict[Pool, FactNames] = {}
    for _, path in sorted(probe_files(folder).items()):
        missing = [pool for pool in pools if pool not in names]
        if not missing:
            break
        names |= _names_in(path, missing)
    lost = [pool for pool in pools if pool not in names]
    if lost:
        raise ConfigError(f"{folder} holds no probe records of {lost[0]} facts. Name the folder of a run that has.")
    return names


def distinct(facts: Sequence[str]) -> tuple[str, ...]:
    """Names of a run's facts, those that it has twice told apart by a count.

    Examples:
        >>> distinct(["a", "b", "a"])
        ('a', 'b', 'a #2')
    """
    seen: Counter[str] = Counter()
    names = []
    for fact in facts:
        seen[fact] += 1
        names.append(fact if seen[fact] == 1 else f"{fact} #{seen[fact]}")
    return tuple(names)


def _names_in(path: Path, pools: Sequence[Pool]) -> dict[Pool, FactNames]:
    try:
        table = pq.read_table(path, columns=["pool", "request", "fact", "id", "subject"])
        parts = {pool: table.filter(pa.compute.equal(table["pool"], str(pool))) for pool in pools}
        return {pool: _names(part) for pool, part in parts.items() if part.num_rows}
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} does not say which facts it is about ({type(error).__name__}): it is damaged, or of an earlier "
            "version. Run it again."
        ) from error


def _names(table: pa.Table) -> FactNames:
    request = table["request"].to_numpy()
    _, first = np.unique(request, return_index=True)
    if request.max() != len(first) - 1:
        raise ValueError("a request was asked nothing")
    rows = table.take(pa.array(first))
    return FactNames(*(rows[name].to_pylist() for name in ("fact", "id", "subject")))


def recorded_steps(folder: Path) -> list[int]:
    """The steps of which there are records, in ascending order; −1 for the unedited model."""
    return sorted(probe_files(folder))


def copy_probes(source: Path, target: Path, last_step: int) -> None:
    """Bring over the records up to a step, for a run that continues another."""
    for step, path in probe_files(source).items():
        if step <= last_step:
            write_atomically(probe_file(target, step), partial(shutil.copyfile, path))


def drop_probes(folder: Path, last_step: int) -> None:
    """Remove the records behind a step, which a run that goes on from there will write anew."""
    for step, path in probe_files(folder).items():
        if step > last_step:
            path.unlink()


def probe_file(folder: Path, step: int) -> Path:
    """The file of one probe in a data set's folder."""
    return folder / ("before_edit.parquet" if step == BEFORE_EDIT else f"step_{step:09d}.parquet")


def probe_files(folder: Path) -> dict[int, Path]:
    """The files of a data set that has one for each probe, by step; −1 for the unedited model."""
    named = {path.stem.removeprefix("step_"): path for path in folder.glob("step_*.parquet")}
    steps = {int(number): path for number, path in named.items() if number.isdecimal()}
    before = probe_file(folder, BEFORE_EDIT)
    return ({BEFORE_EDIT: before} if before.exists() else {}) | steps


def _table(step: int, pool: Pool, outcomes: Outcomes, requests: Sequence[EditRequest]) -> pa.Table:
    who = outcomes.request.tolist()
    facts = [fact_hash(request) for request in requests]
    columns = {
        "step": pa.array([step] * len(who), pa.int64()),
        "pool": [str(pool)] * len(who),
        "request": pa.array(who, pa.int32()),
        "fact": [facts[index] for index in who],
        "id": [requests[index].id for index in who],
        "subject": [requests[index].subject for index in who],
        "relation": pa.array([requests[index].relation for index in who], pa.string()),
        "kind": [str(KINDS[code]) for code in outcomes.kind.tolist()],
        "prompt": pa.array(outcomes.prompt.tolist(), pa.int32()),
    }
    for name in _PAIRS:
        for side, values in zip(_SIDES, getattr(outcomes, name).unbind(1), strict=True):
            columns[f"{name}_{side}"] = pa.array(values.tolist(), pa.float64())
    return pa.table(columns)


def _outcomes(table: pa.Table) -> Outcomes:
    codes = {str(kind): KINDS.index(kind) for kind in Kind}
    kinds = table["kind"].combine_chunks().dictionary_encode()
    code = np.array([codes[kind] for kind in kinds.dictionary.to_pylist()], dtype=np.int64)
    pairs = {name: torch.stack([_numbers(table, f"{name}_{side}") for side in _SIDES], dim=1) for name in _PAIRS}
    return Outcomes(
        request=_numbers(table, "request").long(),
        kind=torch.from_numpy(code[kinds.indices.to_numpy()]),
        prompt=_numbers(table, "prompt").long(),
        **{name: pair.double() for name, pair in pairs.items()},
    )


def _numbers(table: pa.Table, name: str) -> torch.Tensor:
    column = table[name]
    if column.null_count:
        raise ValueError(f"{name} has gaps")
    return torch.tensor(column.to_numpy())
