"""What the facts of a run were asked, as text: ``questions.parquet`` in the run's folder, written once per run.

One row per pool, request, kind and prompt: the same four columns name a question in ``retention.parquet``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from edit_lit.measures.outcomes import Kind, Pool
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.files import write_atomically

FILE = "questions.parquet"


@dataclass(frozen=True)
class AskedQuestion:
    """A question as a probe asks it.

    Args:
        request: Position of the fact within its pool.
        fact: The fact's name by content; see :func:`~edit_lit.facts.request.fact_hash`.
        id: The request's own name.
        subject: Its subject.
        relation: Its relation; none if nobody gave it.
        kind: Which of the fact's prompts it is.
        prompt: Number of the prompt within its request and kind.
        text: The prompt in full.
        answer: The answer that counts.
        alternative: What it must beat under ``prob``; none if there is nothing.
        subject_tokens: Tokens of the subject behind a space.
        answer_tokens: Tokens of the answer.
        alternative_tokens: Tokens of the alternative; none without one.
    """

    request: int
    fact: str
    id: str
    subject: str
    relation: str | None
    kind: Kind
    prompt: int
    text: str
    answer: str
    alternative: str | None
    subject_tokens: int
    answer_tokens: int
    alternative_tokens: int | None


_NUMBERS = {"request": pa.int32(), "prompt": pa.int32()} | {
    name: pa.int32() for name in ("subject_tokens", "answer_tokens", "alternative_tokens")
}
_SCHEMA = pa.schema(
    [("pool", pa.string())] + [(name, _NUMBERS.get(name, pa.string())) for name in AskedQuestion.__dataclass_fields__]
)
_MAY_LACK = ("relation", "alternative", "alternative_tokens")


def write_questions(path: Path, questions: Mapping[Pool, Sequence[AskedQuestion]]) -> None:
    """Write the questions of all pools.

    Args:
        path: The file.
        questions: The questions by pool.
    """
    rows = [
        {**asdict(question), "pool": str(pool), "kind": str(question.kind)}
        for pool, of_pool in questions.items()
        for question in of_pool
    ]
    table = pa.Table.from_pylist(rows, schema=_SCHEMA)
    write_atomically(path, lambda temporary: pq.write_table(table, temporary))


def read_questions(path: Path) -> dict[Pool, list[AskedQuestion]] | None:
    """The questions by pool; nothing if there is no file, as in a run of an earlier version.

    Raises:
        ConfigError: If the file is damaged, or of another kind.
    """
    if not path.exists():
        return None
    try:
        table = pq.read_table(path, columns=_SCHEMA.names)
        if any(table[name].null_count for name in _SCHEMA.names if name not in _MAY_LACK):
            raise ValueError("a column has gaps")
        questions: dict[Pool, list[AskedQuestion]] = {}
        for row in table.to_pylist():
            pool = Pool(row.pop("pool"))
            questions.setdefault(pool, []).append(AskedQuestion(**{**row, "kind": Kind(row["kind"])}))
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} is no whole list of a run's questions ({type(error).__name__}). Delete it to go on without texts."
        ) from error
    return questions
