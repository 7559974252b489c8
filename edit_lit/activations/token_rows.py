"""Prompts as token rows, with the position of the subject's last token in each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase

from edit_lit.facts.request import SUBJECT_SLOT, EditRequest, last_mention, requests_hash
from edit_lit.language_model.spans import answer_rows, encode_many
from edit_lit.utilities.errors import ConfigError


@dataclass(frozen=True)
class SubjectRow:
    """A prompt as model input, and where its subject ends.

    Args:
        ids: Token ids; with an answer, all of its tokens but the last stand at the end.
        subject_last: Position of the subject's last token.
        answer: The answer's token ids; empty for a prompt without one.
        context: The text around the prompt; rows of the same one begin alike.
    """

    ids: list[int]
    subject_last: int
    answer: list[int]
    context: str

    @property
    def up_to_subject(self) -> list[int]:
        """The tokens that a key depends on: in a causal model, none after the subject's last one."""
        return self.ids[: self.subject_last + 1]


def prompt_rows(
    tokenizer: PreTrainedTokenizerBase, requests: Sequence[EditRequest], contexts: Sequence[str]
) -> list[list[SubjectRow]]:
    """Each request's prompt in each context, followed by the new target.

    Returns:
        For each request, one row per context.

    Raises:
        ConfigError: If a subject or target has no tokens; the message names the request.
    """
    return [
        _rows_of(tokenizer, request, [_wording(request).inside(context) for context in contexts])
        for request in requests
    ]


def neighbor_rows(
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[EditRequest],
    contexts: Sequence[str],
    count: int,
    seed: int = 0,
) -> list[list[SubjectRow]]:
    """The prompts of each request's first neighbours whose subject is known, followed by their own answers.

    Args:
        tokenizer: The model's tokenizer.
        requests: The facts whose neighbourhood is read.
        contexts: Texts with one ``{}``; each neighbour's prompt stands in one of them, drawn at random.
        count: How many neighbours each request gives.
        seed: Seed of the draw, which depends on the request besides, but not on those at its side.

    Returns:
        For each request, one row per neighbour; its ``subject_last`` is in the neighbour's subject.

    Raises:
        ConfigError: If a request has fewer such neighbours, or a subject or answer has no tokens; the message names
            the request.
    """
    return [_rows_of(tokenizer, request, _neighbor_wordings(request, contexts, count, seed)) for request in requests]


def statement_rows(
    tokenizer: PreTrainedTokenizerBase, requests: Sequence[EditRequest], template: str
) -> list[SubjectRow]:
    """One statement about each request's subject, such as ``{} is a``, without an answer."""
    texts = [template.replace(SUBJECT_SLOT, request.subject) for request in requests]
    start = template.index(SUBJECT_SLOT)
    return [
        SubjectRow(encoded.ids, encoded.tokens_over(start, start + len(request.subject))[-1], [], template)
        for request, encoded in zip(requests, encode_many(tokenizer, texts), strict=True)
    ]


@dataclass(frozen=True)
class _Wording:
    """A prompt with its answer, and where in it the subject stands: from the character ``start`` on."""

    prompt: str
    subject: str
    start: int
    answer: str
    context: str = SUBJECT_SLOT

    def inside(self, context: str) -> _Wording:
        """The same in a context."""
        start = context.index(SUBJECT_SLOT) + self.start
        prompt = context.replace(SUBJECT_SLOT, self.prompt)
        return replace(self, prompt=prompt, start=start, context=context)


def _wording(request: EditRequest) -> _Wording:
    return _Wording(request.question, request.subject, request.prompt.index(SUBJECT_SLOT), request.target_new)


def _neighbor_wordings(request: EditRequest, contexts: Sequence[str], count: int, seed: int) -> list[_Wording]:
    """The first neighbours of known subject, each in a context of its own."""
    known = [(near, near.subject) for near in request.neighborhood if near.subject is not None]
    if len(known) < count:
        raise ConfigError(
            f"{request.name}: target_values.neighbors is {count}, but only {len(known)} of its neighborhood "
            "questions have a subject. Lower it, or give more of the questions a `subject`."
        )
    # Drawn by what the request says, so that a batch gives what its requests give one at a time.
    rng = random.Random(f"{seed} {requests_hash([request])}")
    return [
        _Wording(near.prompt, subject, last_mention(near.prompt, subject), near.answer).inside(rng.choice(contexts))
        for near, subject in known[:count]
    ]


def _rows_of(
    tokenizer: PreTrainedTokenizerBase, request: EditRequest, wordings: Sequence[_Wording]
) -> list[SubjectRow]:
    try:
        answers = answer_rows(tokenizer, [(wording.prompt, wording.answer) for wording in wordings])
        subject_lasts = _subject_lasts(tokenizer, wordings)
    except ValueError as error:
        raise ConfigError(f"{request.name}: {error}") from error
    return [
        SubjectRow(row.ids, subject_last, row.answer, wording.context)
        for row, subject_last, wording in zip(answers, subject_lasts, wordings, strict=True)
    ]


def _subject_lasts(tokenizer: PreTrainedTokenizerBase, wordings: Sequence[_Wording]) -> list[int]:
    encoded = encode_many(tokenizer, [wording.prompt for wording in wordings])
    return [
        row.tokens_over(wording.start, wording.start + len(wording.subject.rstrip()))[-1]
        for row, wording in zip(encoded, wordings, strict=True)
    ]
