"""``recoverability.parquet`` in a run's folder: one row for each lost edit and test."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from edit_lit.measures.scores import Rule
from edit_lit.recoverability.result import Evidence, Finding, LostEdit, Recoverability
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.files import write_atomically

FILE = "recoverability.parquet"
_ABOUT = b"edit_lit.recoverability"
_SCHEMA = pa.schema(
    [("edit", pa.int32())]
    + [(name, pa.string()) for name in ("fact", "id", "question", "target", "verdict", "test")]
    + [("value", pa.float64()), ("control", pa.float64()), ("beyond_control", pa.bool_())]
)


def write_recoverability(folder: Path, result: Recoverability) -> Path:
    """Write the result into a run's folder, whole or not at all; the file's path."""
    rows = [
        {
            "edit": number,
            "fact": edit.fact,
            "id": edit.id,
            "question": edit.question,
            "target": edit.target,
            "verdict": str(edit.verdict),
            "test": str(finding.evidence),
            "value": finding.value,
            "control": finding.control,
            "beyond_control": finding.beyond,
        }
        for number, edit in enumerate(result.edits)
        for finding in edit.findings
    ]
    about = {
        "alive": result.alive,
        "step": result.step,
        "rule": str(result.rule),
        "control": result.control,
        "most_rank": result.most_rank,
        "model": result.model,
    }
    table = pa.Table.from_pylist(rows, schema=_SCHEMA.with_metadata({_ABOUT: json.dumps(about).encode()}))
    write_atomically(folder / FILE, lambda temporary: pq.write_table(table, temporary))
    return folder / FILE


def read_recoverability(folder: Path) -> Recoverability:
    """Read the result from a run's folder.

    Raises:
        ConfigError: If there is none, or the file is damaged.
    """
    path = folder / FILE
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[_ABOUT])
        if table.schema.remove_metadata() != _SCHEMA:
            raise ValueError("other columns")
        found: dict[int, tuple[dict[str, str], list[Finding]]] = {}
        for row in table.to_pylist():
            names = {name: row[name] for name in ("fact", "id", "question", "target")}
            finding = Finding(Evidence(row["test"]), row["value"], row["control"], about["most_rank"])
            found.setdefault(row["edit"], (names, []))[1].append(finding)
        edits = tuple(LostEdit(**names, findings=tuple(findings)) for names, findings in found.values())
        return Recoverability(edits, **{**about, "rule": Rule(about["rule"])})
    except FileNotFoundError as error:
        raise ConfigError(f"{folder} holds no {FILE}. Write it with: python -m edit_lit recover {folder}") from error
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} is no whole result ({type(error).__name__}). Write it again with: python -m edit_lit recover "
            f"{folder}"
        ) from error
