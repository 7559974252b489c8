"""Edit requests as token rows with the position of the subject's last token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from edit_lit.facts.request import SUBJECT_SLOT, EditRequest
from edit_lit.spans import answer_rows, encode_many


@dataclass(frozen=True)
class SubjectRow:
    """A prompt as model input, and where its subject ends.

    Args:
        ids: Token ids; with an answer, all of its tokens but the last stand at the end.
        lookup: Position of the subject's last token.
        answer: The answer's token ids; empty for a prompt without one.
    """

    ids: list[int]
    lookup: int
    answer: list[int]

    @property
    def up_to_subject(self) -> list[int]:
        """The tokens that a key depends on: in a causal model, none after the lookup token."""
        return self.ids[: self.lookup + 1]


def prompt_rows(
    tokenizer: PreTrainedTokenizerBase, requests: Sequence[EditRequest], contexts: Sequence[str]
) -> list[list[SubjectRow]]:
    """Each request's prompt in each context, followed by the new target.

    Returns:
        For each request, one row per context.

    Raises:
        ValueError: If a subject or target has no tokens; the message names the request.
    """
    return [_rows_of(tokenizer, request, contexts) for request in requests]


def _rows_of(tokenizer: PreTrainedTokenizerBase, request: EditRequest, contexts: Sequence[str]) -> list[SubjectRow]:
    prompts = [context.replace(SUBJECT_SLOT, request.question) for context in contexts]
    starts = [context.index(SUBJECT_SLOT) + request.prompt.index(SUBJECT_SLOT) for context in contexts]
    try:
        answers = answer_rows(tokenizer, [(prompt, request.target_new) for prompt in prompts])
        lookups = _lookups(tokenizer, prompts, starts, request.subject)
    except ValueError as error:
        raise ValueError(f"{request.name}: {error}") from error
    return [SubjectRow(row.ids, lookup, row.answer) for row, lookup in zip(answers, lookups, strict=True)]


def statement_rows(
    tokenizer: PreTrainedTokenizerBase, requests: Sequence[EditRequest], template: str
) -> list[SubjectRow]:
    """One statement about each request's subject, such as ``{} is a``, without an answer."""
    texts = [template.replace(SUBJECT_SLOT, request.subject) for request in requests]
    start = template.index(SUBJECT_SLOT)
    return [
        SubjectRow(encoded.ids, encoded.tokens_over(start, start + len(request.subject))[-1], [])
        for request, encoded in zip(requests, encode_many(tokenizer, texts), strict=True)
    ]


def _lookups(tokenizer: PreTrainedTokenizerBase, texts: list[str], starts: list[int], subject: str) -> list[int]:
    ends = [start + len(subject.rstrip()) for start in starts]
    encoded = encode_many(tokenizer, texts)
    return [row.tokens_over(start, end)[-1] for row, start, end in zip(encoded, starts, ends, strict=True)]
