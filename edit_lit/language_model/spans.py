"""Tokenises texts and finds the tokens of a subject or an answer by character offsets.

The whole text is tokenised once and the tokenizer's own offsets say which tokens cover which
characters. That needs no rule about leading spaces, BOS tokens or pieces that merge across a border.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from transformers import PreTrainedTokenizerBase

from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.text import shown


@dataclass(frozen=True)
class Encoded:
    """A tokenised text with its character offsets.

    Args:
        ids: Token ids, special tokens of the tokenizer included.
        offsets: First character and end character of each token; equal for special tokens.
    """

    ids: list[int]
    offsets: list[tuple[int, int]]

    def tokens_over(self, start: int, end: int) -> range:
        """Positions of the tokens that overlap the characters from ``start`` up to ``end``.

        Raises:
            ConfigError: If no token does.
        """
        hits = [position for position, (first, last) in enumerate(self.offsets) if max(first, start) < min(last, end)]
        if not hits:
            raise ConfigError(
                f"no token covers characters {start} to {end}; the tokenizer drops them. Spell that part otherwise."
            )
        return range(hits[0], hits[-1] + 1)


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> Encoded:
    """Tokenise a text with the special tokens that the tokenizer adds by default."""
    encoding = tokenizer(text, return_offsets_mapping=True, return_attention_mask=False)
    return Encoded(list(encoding["input_ids"]), [tuple(pair) for pair in encoding["offset_mapping"]])


def encode_many(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[Encoded]:
    """Tokenise many texts in one call."""
    if not texts:
        return []
    encoding = tokenizer(texts, return_offsets_mapping=True, return_attention_mask=False)
    return [
        Encoded(list(ids), [tuple(pair) for pair in offsets])
        for ids, offsets in zip(encoding["input_ids"], encoding["offset_mapping"], strict=True)
    ]


def encode_stream(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], at_once: int = 256) -> Iterator[Encoded]:
    """Tokenise texts as they are needed, some in one call, which is faster than one by one.

    Args:
        tokenizer: The tokenizer.
        texts: The texts.
        at_once: How many texts are read ahead.
    """
    remaining = iter(texts)
    while some := list(islice(remaining, at_once)):
        yield from encode_many(tokenizer, some)


@dataclass(frozen=True)
class AnswerRow:
    """A prompt and its answer as model input under teacher forcing.

    The answer's last token predicts nothing that is asked for, so it is left out of the input.

    Args:
        ids: Prompt tokens and all answer tokens but the last.
        answer: The answer's token ids.
    """

    ids: list[int]
    answer: list[int]

    @property
    def positions(self) -> range:
        """Positions in ``ids`` whose next-token distributions score the answer, in its order."""
        return range(len(self.ids) - len(self.answer), len(self.ids))


def answer_rows(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], names: Sequence[str] = ()
) -> list[AnswerRow]:
    """Tokenise (prompt, answer) pairs in one call, each joined by one space.

    Args:
        tokenizer: The tokenizer.
        pairs: The pairs.
        names: What an error calls each pair, beside its texts; nothing if not given.

    Raises:
        ConfigError: If an answer has no token of its own, or its first token begins the text.
    """
    texts = [joined(prompt, answer) for prompt, answer in pairs]
    rows = []
    for number, (text, encoded) in enumerate(zip(texts, encode_many(tokenizer, texts), strict=True)):
        prompt, answer = pairs[number]
        called = f"answer {shown(answer)} to {shown(prompt)}"
        if names:
            called = f"{names[number]}: {called}"
        try:
            span = answer_span(encoded, text, answer)
        except ConfigError as error:
            raise ConfigError(f"{called}: {error}") from error
        if span.start == 0:
            raise ConfigError(f"{called}: no token precedes it. Give the prompt some text.")
        rows.append(AnswerRow(encoded.ids[: span.stop - 1], encoded.ids[span.start : span.stop]))
    return rows


def answer_span(encoded: Encoded, text: str, answer: str) -> range:
    """Positions of the answer's tokens at the end of a text that :func:`joined` made.

    A token that holds nothing but the space before the answer counts as the answer's, as it does wherever the answer
    is tokenised together with its leading space.

    Raises:
        ConfigError: If the answer has no token.
    """
    start = len(text) - len(answer.strip())
    span = encoded.tokens_over(start, len(text))
    first = span.start
    if first > 0 and encoded.offsets[first - 1] == (start - 1, start):
        first -= 1
    return range(first, span.stop)


def joined(prompt: str, answer: str) -> str:
    """Prompt and answer with exactly one space between them."""
    return f"{prompt.rstrip()} {answer.strip()}"
