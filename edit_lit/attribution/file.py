"""The file of an attribution in a run's folder: a Parquet table with a row for each lost edit.

Any Parquet reader reads it, such as ``pandas.read_parquet("…/attribution.parquet")``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from edit_lit.attribution.activation_view import LayerChange
from edit_lit.attribution.groups import GROUPS, Group
from edit_lit.attribution.result import ActivationPart, Attribution, GroupPart, LayerShare, LostEdit
from edit_lit.attribution.verdict import Verdict
from edit_lit.measures.scores import Rule
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.files import write_atomically

FILE = "attribution.parquet"
_KEY = b"edit_lit.attribution"
_FORMAT = 1
_PLAIN = [field.name for field in fields(LostEdit) if field.name not in ("groups", "activations")]


def write_attribution(folder: Path, attribution: Attribution) -> Path:
    """Write an attribution into a run's folder, whole or not at all.

    Args:
        folder: The run's folder.
        attribution: What was found.

    Returns:
        The file.

    Raises:
        WriteError: If there is no room for it, or no permission.
    """
    about = {name: value for name, value in asdict(attribution).items() if name != "edits"}
    metadata = {_KEY: json.dumps({"format": _FORMAT, **about}).encode()}
    table = pa.Table.from_pylist([_row(edit) for edit in attribution.edits]).replace_schema_metadata(metadata)
    write_atomically(folder / FILE, lambda path: pq.write_table(table, path, write_page_checksum=True))
    return folder / FILE


def read_attribution(folder: Path) -> Attribution | None:
    """The attribution in a run's folder; none if there is no file.

    Raises:
        ConfigError: If the file is damaged, or another program or version wrote it.
    """
    path = folder / FILE
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        about = json.loads((table.schema.metadata or {})[_KEY])
        if about.pop("format") != _FORMAT:
            raise ValueError("another format")
        about |= {"rule": Rule(about["rule"]), "trained": [Group(name) for name in about["trained"]]}
        about["layer_shares"] = [_share(share) for share in about["layer_shares"]]
        return Attribution(**about, edits=[_edit(row) for row in table.to_pylist()])
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"{path} is no whole file of causes ({type(error).__name__}). Make it anew: python -m edit_lit explain "
            f"{folder}"
        ) from error


def _row(edit: LostEdit) -> dict[str, Any]:
    """An edit in flat columns; an attribute of a group or of the activations has that in front of its name."""
    content = asdict(edit)
    row = {name: content[name] for name in _PLAIN}
    row |= {f"{group}_{name}": value for group in GROUPS for name, value in content["groups"][group].items()}
    return row | {f"activations_{name}": value for name, value in content["activations"].items()}


def _edit(row: Mapping[str, Any]) -> LostEdit:
    plain = {name: row[name] for name in _PLAIN}
    plain["smallest"] = [Group(name) for name in row["smallest"]]
    plain["verdict"] = Verdict(row["verdict"])
    plain["layers"] = [LayerChange(**layer) for layer in row["layers"]]
    groups = {group: GroupPart(**_part(row, str(group), GroupPart)) for group in GROUPS}
    activations = _part(row, "activations", ActivationPart)
    activations["verdict"] = Verdict(activations["verdict"])
    return LostEdit(**plain, groups=groups, activations=ActivationPart(**activations))


def _part(row: Mapping[str, Any], prefix: str, kind: type) -> dict[str, Any]:
    return {field.name: row[f"{prefix}_{field.name}"] for field in fields(kind)}


def _share(stored: Mapping[str, Any]) -> LayerShare:
    return LayerShare(**{**stored, "group": Group(stored["group"])})
