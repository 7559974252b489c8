"""Reads records from a file, a URL or a hub data set, in JSON, JSON Lines, CSV, TSV or Parquet."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import pyarrow.parquet

from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.hub import hub_answers
from edit_lit.utilities.text import damage_in, first_line, shown

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
    reader = _READERS.get(PurePosixPath(path).suffix.lower(), _json_lines)
    try:
        with fsspec.open(path, "rb") as file:
            content: bytes = file.read()
        return reader(content)
    except (ValueError, OSError, RecursionError, pyarrow.ArrowException) as error:
        why = first_line(error)
        raise ConfigError(f"{path}: {why}. Its ending says how it is read; correct the file or its name.") from error


def read_lines(path: str) -> Iterator[str]:
    """The lines of a text file that hold something, without the space around them.

    Raises:
        ConfigError: If the file cannot be read, or is not UTF-8 text.
    """
    try:
        with fsspec.open(path, "rt", encoding="utf-8-sig") as file:
            for number, line in enumerate(file):
                damage = damage_in(line)
                if damage is not None:
                    raise ConfigError(f"line {number + 1} {damage}")
                if line.strip():
                    yield line.strip()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: it is not UTF-8 text ({error.reason}). Convert it.") from error
    except (OSError, ConfigError) as error:
        raise ConfigError(f"{path}: {first_line(error)}. Correct the file: UTF-8 text is wanted.") from error


def load_data_set(path: str, name: str | None, split: str, streaming: bool = False) -> Any:
    """A hub data set or a folder of files as ``datasets`` loads it, which gives its records in their order.

    Raises:
        ConfigError: If there is no such data set, or the hub cannot be reached.
    """
    # Takes long to import, and few runs need it.
    import datasets
    from datasets.exceptions import DatasetsError

    check_data_set(path)
    try:
        return datasets.load_dataset(path, name, split=split, streaming=streaming)
    except (OSError, ValueError, DatasetsError, pyarrow.ArrowException) as error:
        why = first_line(error.__cause__ or error)
        if Path(path).is_dir():
            raise ConfigError(f"{path}: {why}. Correct its files, or name one of them.") from error
        raise ConfigError(f"path {path!r} is no file here, and no data set came from the hub: {why}.") from error


def check_data_set(path: str) -> None:
    """Refuse a data set on the hub that is neither in the cache of ``datasets`` nor to be had now.

    Without this, a machine without network tries for minutes.

    Raises:
        ConfigError: Naming the data set and the remedy.
    """
    import datasets

    cached = Path(datasets.config.HF_DATASETS_CACHE) / path.replace("/", "___").lower()
    if not Path(path).exists() and not cached.is_dir() and not hub_answers():
        raise ConfigError(
            f"path {path!r} is no file here, and no data set came from the hub: it does not answer. "
            "Name a local file or folder, or load the data set once where there is a network."
        )


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
        # Strictly, or a quotation mark that is never closed swallows the rest of the file.
        rows = csv.DictReader(io.StringIO(_text(content), newline=""), dialect=dialect, strict=True, restval=_ABSENT)
        try:
            twice = [column for column, count in Counter(rows.fieldnames or ()).items() if count > 1]
            if twice:
                raise ConfigError(f"the header names {shown(twice[0])} more than once")
            return [_cells(row, rows.line_num) for row in rows]
        except csv.Error as error:
            raise ConfigError(f"line {rows.reader.line_num} cannot be read ({error})") from error

    return read


_ABSENT = "\ud800"
"""Stands for a cell that a row lacks; no file that can be decoded holds it."""


def _cells(row: Mapping[str | None, Any], line: int) -> dict[str, str | None]:
    """The cells by column, an empty one as null; too many or too few of them are an error of their own."""
    first = shown(next(iter(row.values())))
    if None in row:
        raise ConfigError(f"the row of {first} in line {line} has more cells than the header; quote its commas")
    if _ABSENT in row.values():
        raise ConfigError(f"the row of {first} in line {line} has fewer cells than the header; leave empty ones in")
    return {str(column): cell or None for column, cell in row.items()}


def _parquet(content: bytes) -> list[Any]:
    table = pyarrow.parquet.read_table(io.BytesIO(content), page_checksum_verification=True)
    # Offsets out of range would be read as they are.
    table.validate(full=True)
    rows: list[Any] = table.to_pylist()
    return rows


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        utf_16 = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        why = "it looks like UTF-16" if utf_16 else f"{error.reason} at byte {error.start}"
        raise ConfigError(f"it is not UTF-8 text ({why})") from error


_READERS: Mapping[str, Callable[[bytes], list[Any]]] = {
    ".json": _json,
    ".jsonl": _json_lines,
    ".csv": _separated(csv.excel),
    ".tsv": _separated(_TabSeparated),
    ".parquet": _parquet,
}
