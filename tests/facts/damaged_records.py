"""Ways to damage the files that facts and tasks are read from, each from a seed."""

from __future__ import annotations

import copy
import csv
import io
import json
import random
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

JUNK: tuple[Any, ...] = (
    None,
    True,
    0,
    -7,
    3.5,
    float("nan"),
    float("inf"),
    "",
    " \t",
    "\u200b",
    "\ufeff",
    "\x00",
    "Os\x00lo",
    "\x1b[31mOslo",
    "\ud800",
    "Oslo\udc00",
    "Os\u200blo",
    "{}",
    "a {} {} b",
    "{0} lives in",
    "{subject}",
    "\u202eolsO",
    "x" * 200_000,
    [],
    {},
    [[[["deep"]]]],
    ["", None],
    {"str": ""},
    {"prompt": "{} is", "answer": None},
    [{"prompt": "{} is", "answer": "x"}],
)
BYTES = (b"\x00", b"\xff", b"\xc3", b'"', b"\n", b"{", b"}", b",", b"\\ud800", b"NaN", b"\xed\xa0\x80", b"[" * 3000)


def places(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside a record."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [prefix, *(path for key, item in inner for path in places(item, (*prefix, key)))]


def damaged_record(record: dict[str, Any], rng: random.Random) -> Any:
    """A record with one or two places dropped or replaced."""
    record = copy.deepcopy(record)
    for _ in range(rng.randint(1, 2)):
        ways = [path for path in places(record) if path]
        if not ways:
            return rng.choice(JUNK)
        *way, last = rng.choice(ways)
        place: Any = record
        for key in way:
            place = place[key]
        if rng.random() < 0.2:
            del place[last]
        else:
            place[last] = copy.deepcopy(rng.choice(JUNK))
    return record


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """A file that was cut, flipped, overwritten, or written in another encoding."""
    way = rng.randrange(7)
    if way == 0:
        return content[: rng.randrange(len(content))]
    if way == 1 and rng.random() < 0.3:
        return content.decode("latin-1").encode(rng.choice(["utf-16", "utf-16-le", "utf-8-sig"]))
    if way == 2:
        start = rng.randrange(len(content))
        return content[:start] + content[start + rng.randint(1, 40) :]
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(len(made))
        if rng.random() < 0.5:
            made[place] ^= 1 << rng.randrange(8)
        else:
            made[place : place + 1] = rng.choice(BYTES)
    return bytes(made)


def as_json(records: list[Any]) -> bytes:
    return json.dumps(records).encode()


def as_json_lines(records: list[Any]) -> bytes:
    return "\n".join(json.dumps(record, ensure_ascii=False) for record in records).encode(errors="surrogatepass")


def as_table(separator: str) -> Callable[[list[Any]], bytes]:
    def written(records: list[Any]) -> bytes:
        rows = [record for record in records if isinstance(record, dict)]
        columns = list(dict.fromkeys(str(name) for row in rows for name in row))
        quoting = csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE
        text = io.StringIO()
        writer = csv.writer(text, delimiter=separator, quoting=quoting, escapechar="\\", lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            cells = (row.get(column, "") for column in columns)
            writer.writerow(cell if isinstance(cell, str) else json.dumps(cell) for cell in cells)
        return text.getvalue().encode(errors="surrogatepass")

    return written


def as_parquet(records: list[Any]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), buffer)
    return buffer.getvalue()


WRITERS: dict[str, Callable[[list[Any]], bytes]] = {
    "json": as_json,
    "jsonl": as_json_lines,
    "csv": as_table(","),
    "tsv": as_table("\t"),
    "parquet": as_parquet,
}
