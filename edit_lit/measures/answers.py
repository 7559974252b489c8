"""What a model answers in words: greedy continuations of the facts' own prompts.

They are written to ``answers.parquet`` in the run's folder, one file per probe at which they were asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from edit_lit.facts.request import EditRequest, fact_hash
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.generation import Continuation, greedy_continuations
from edit_lit.language_model.limits import positions
from edit_lit.language_model.spans import encode_many
from edit_lit.measures.outcome_files import probe_file, probe_files
from edit_lit.measures.outcomes import Kind, Outcomes, Pool
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.files import write_atomically

FOLDER = "answers.parquet"

NOTHING = Continuation("", 0, ended=False)
"""Where there is nothing to write down: the model's output is no number, or it has no position left."""

Answers = dict[Pool, list[Continuation]]
"""What a model answers to each fact of each pool, in the order of its requests."""


class AnswersAt(StrEnum):
    """At which probes a model is asked for its answers in words."""

    NEVER = "never"
    LAST = "last"
    EVERY = "every"

    def due(self, last: bool) -> bool:
        """Whether they are due at a probe.

        Args:
            last: Whether the run ends with it.
        """
        return self is AnswersAt.EVERY or (self is AnswersAt.LAST and last)


def ask(
    language_model: LanguageModel, requests: Sequence[EditRequest], outcomes: Outcomes, tokens: int, batch_tokens: int
) -> list[Continuation]:
    """What a model writes behind each fact's prompt, greedily; it changes nothing in the model.

    A model with few positions is given as many tokens as there is room for behind the longest prompt.

    Args:
        language_model: The model.
        requests: The facts.
        outcomes: What it answered to a probe of them. Facts whose answers are not numbers are not asked.
        tokens: Most tokens of an answer.
        batch_tokens: Tokens in a batch, padding and written tokens included.
    """
    rows = outcomes.of_kind(Kind.REWRITE)
    broken = set(rows.request[rows.not_a_number()].tolist())
    asked = [number for number in range(len(requests)) if number not in broken]
    prompts = [requests[number].question for number in asked]
    limit = positions(language_model)
    if limit is not None and prompts:
        longest = max(len(encoded.ids) for encoded in encode_many(language_model.tokenizer, prompts))
        tokens = min(tokens, limit - longest)
    found = greedy_continuations(language_model, prompts, tokens, batch_tokens) if prompts and tokens > 0 else []
    written = dict(zip(asked, found, strict=False))
    return [written.get(number, NOTHING) for number in range(len(requests))]


def write_answers(folder: Path, step: int, answers: Answers, requests: Mapping[Pool, Sequence[EditRequest]]) -> None:
    """Write the answers of one probe.

    Args:
        folder: The data set's folder.
        step: Optimizer steps taken, or −1 for the unedited model.
        answers: Answers by pool.
        requests: The pools' facts.
    """
    rows = [
        {
            "step": step,
            "pool": str(pool),
            "request": number,
            "fact": fact_hash(requests[pool][number]),
            "text": answer.text,
            "tokens": answer.tokens,
            "ended": answer.ended,
        }
        for pool, of_pool in answers.items()
        for number, answer in enumerate(of_pool)
    ]
    table = pa.Table.from_pylist(rows, schema=_SCHEMA)
    write_atomically(probe_file(folder, step), lambda temporary: pq.write_table(table, temporary))


def read_answers(folder: Path) -> dict[int, Answers]:
    """All answers by step, in ascending order; empty if none were asked for, as in a run of an earlier version.

    Raises:
        ConfigError: If a file is damaged, or of another kind.
    """
    return {step: _read(path) for step, path in sorted(probe_files(folder).items())}


def _read(path: Path) -> Answers:
    try:
        table = pq.read_table(path, columns=_SCHEMA.names)
        if any(table[name].null_count for name in _SCHEMA.names):
            raise ValueError("a column has gaps")
        answers: Answers = {}
        for row in table.sort_by("request").to_pylist():
            of_pool = answers.setdefault(Pool(row["pool"]), [])
            if row["request"] != len(of_pool):
                raise ValueError("a request is missing")
            of_pool.append(Continuation(row["text"], row["tokens"], row["ended"]))
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} is no whole record of answers ({type(error).__name__}). Delete it to go on without them."
        ) from error
    return answers


_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("pool", pa.string()),
        ("request", pa.int32()),
        ("fact", pa.string()),
        ("text", pa.string()),
        ("tokens", pa.int32()),
        ("ended", pa.bool_()),
    ]
)
