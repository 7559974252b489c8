"""Reads records from a file, a URL or a hub data set, in JSON, JSON Lines, CSV, TSV or Parquet."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import pyarrow.parquet
from datasets import load_dataset

from edit_lit.utilities.errors import ConfigError

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def read_records(path: str, name: str | None = None, split: str = "train") -> list[Any]:
    """The records of a data set, in its order.

    Args:
        path: A local file, a URL such as ``hf://datasets/owner/name/file.json``, or what ``datasets`` loads by itself:
            a name on the Hugging Face hub or a local folder of files. A file ends in ``.json`` (a list), ``.jsonl``,
            ``.csv``, ``.tsv`` or ``.parquet``; any other is read as JSON Lines.
        name: Configuration of a hub data set.
        split: Split of a hub data set.

    Raises:
        ConfigError: If there is no such file, or it does not hold what its ending promises.
    """
    if is_hub_name(path) or Path(path).is_dir():
        return list(load_data_set(path, name, split))
    if name is not None:
        raise ConfigError(f"name is {name!r}, but {path} is a file, which has no configurations. Leave name out.")
    check_path(path)
    with fsspec.open(path, "rb") as file:
        content: bytes = file.read()
    reader = _READERS.get(PurePosixPath(path).suffix.lower(), _json_lines)
    try:
        return reader(content)
    except (ValueError, pyarrow.ArrowException) as error:
        raise ConfigError(f"{path}: {error}. Its ending says how it is read; correct the file or its name.") from error


def load_data_set(path: str, name: str | None, split: str, streaming: bool = False) -> Iterable[Any]:
    """The records of a hub data set or a folder, through ``datasets``.

    Raises:
        ConfigError: If there is no such data set, or the hub cannot be reached.
    """
    try:
        records: Iterable[Any] = load_dataset(path, name, split=split, streaming=streaming)
    except OSError as error:
        raise ConfigError(f"path {path!r} is no file here, and no data set came from the hub: {error}") from error
    return records


def is_hub_name(path: str) -> bool:
    """Whether a path names a data set on the hub: it is no URL, no file here, and looks like ``owner/name``."""
    if "://" in path or PurePosixPath(path).suffix.lower() in (*_READERS, ".txt"):
        return False
    return _HUB_NAME.fullmatch(path) is not None and not _exists(path)


def check_path(path: str, option: str = "path") -> None:
    """Refuse a file that does not exist; URLs are tried when they are read, and hub names are left alone.

    Raises:
        ConfigError: Naming the option, its value and the remedy.
    """
    if "://" not in path and not is_hub_name(path) and not _exists(path):
        raise ConfigError(f"{option} {path!r} is not a file. Name a file, an hf:// URL or a data set on the hub.")


def _exists(path: str) -> bool:
    system, place = fsspec.core.url_to_fs(path)
    found: bool = system.exists(place)
    return found


def _json(content: bytes) -> list[Any]:
    loaded = json.loads(_text(content))
    if not isinstance(loaded, list):
        raise ConfigError(f"it holds one {type(loaded).__name__} where a list of records belongs")
    return loaded


def _json_lines(content: bytes) -> list[Any]:
    records = []
    # Not `splitlines`: U+2028 and its like may stand inside a JSON text.
    for number, line in enumerate(_text(content).split("\n")):
        if line.strip():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise ConfigError(f"line {number + 1} is not valid JSON ({error})") from error
    return records


class _TabSeparated(csv.excel_tab):
    """In the published tab-separated sets quotation marks are text."""

    quoting = csv.QUOTE_NONE


def _separated(dialect: type[csv.Dialect]) -> Callable[[bytes], list[Any]]:
    def read(content: bytes) -> list[Any]:
        rows = csv.DictReader(io.StringIO(_text(content), newline=""), dialect=dialect)
        try:
            return [_filled(row) for row in rows]
        except csv.Error as error:
            raise ConfigError(f"line {rows.line_num} cannot be read ({error})") from error

    return read


def _filled(row: Mapping[str | None, Any]) -> dict[str, str]:
    """The cells that hold something; a cell outside the header is an error of its own."""
    if None in row:
        raise ConfigError(f"the row of {next(iter(row.values()))!r} has more cells than the header; quote its commas")
    return {column: cell for column, cell in row.items() if column is not None and cell}


def _parquet(content: bytes) -> list[Any]:
    rows: list[Any] = pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    return rows


def _text(content: bytes) -> str:
    return content.decode("utf-8-sig")


_READERS: Mapping[str, Callable[[bytes], list[Any]]] = {
    ".json": _json,
    ".jsonl": _json_lines,
    ".csv": _separated(csv.excel),
    ".tsv": _separated(_TabSeparated),
    ".parquet": _parquet,
}
