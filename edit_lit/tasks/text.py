"""A prompt with its completion, and both as a tokenised training example."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from edit_lit.language_model.spans import Encoded, encode_stream
from edit_lit.tasks.task import IGNORED, Example
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.text import shown


@dataclass(frozen=True)
class Text:
    """One example before it is tokenised.

    Args:
        prompt: What the model is given.
        completion: What it should write.
        answer: The part of ``completion`` whose exact prediction counts; its last occurrence is meant. Empty if the
            example has no accuracy.
        choices: What ``answer`` is chosen from; empty if it is free.
    """

    prompt: str
    completion: str
    answer: str = ""
    choices: tuple[str, ...] = ()

    @property
    def whole(self) -> str:
        """Prompt and completion, with a space between them unless the prompt ends in white space."""
        gap = "" if not self.prompt or self.prompt[-1].isspace() else " "
        return f"{self.prompt}{gap}{self.completion}"

    def with_choice(self, choice: str) -> Text:
        """The same text with another choice for an answer, cut off behind it."""
        before = self.completion[: self.completion.rfind(self.answer)]
        return Text(self.prompt, f"{before}{choice}", choice)


def examples_of(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[Text],
    train_on_prompt: bool = False,
    max_tokens: int | None = None,
) -> list[Example]:
    """The tokens of each text, with an EOS that is learnt but not scored.

    Args:
        tokenizer: The model's tokenizer.
        texts: The texts.
        train_on_prompt: Take the loss on the prompt as well.
        max_tokens: A longer text loses tokens from the left.

    Raises:
        ConfigError: If the answer is not part of the completion, or the completion has no tokens, or more than
            ``max_tokens`` leaves room for.
    """
    return [
        text_example(tokenizer, text, encoded, train_on_prompt, max_tokens)
        for text, encoded in zip(texts, encoded_texts(tokenizer, texts), strict=True)
    ]


def encoded_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[Text]) -> Iterator[Encoded]:
    """Prompt and completion of each text, tokenised together."""
    return encode_stream(tokenizer, (text.whole for text in texts))


def text_example(
    tokenizer: PreTrainedTokenizerBase,
    text: Text,
    encoded: Encoded,
    train_on_prompt: bool = False,
    max_tokens: int | None = None,
) -> Example:
    """One text as an example; see :func:`examples_of`."""
    whole, eos = text.whole, [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    completion = encoded.tokens_over(len(whole) - len(text.completion), len(whole))
    ids = list(encoded.ids[: completion.stop])
    answer = [False] * len(ids)
    if text.answer:
        place = text.completion.rfind(text.answer)
        if place < 0:
            raise ConfigError(
                f"the answer {shown(text.answer)} is not part of the completion {shown(text.completion)}."
            )
        start = len(whole) - len(text.completion) + place
        span = encoded.tokens_over(start, start + len(text.answer))
        answer = [position in span for position in range(len(ids))]
    ids, answer = ids + eos, answer + [False] * len(eos)
    labels = [
        token if train_on_prompt or position >= completion.start else IGNORED for position, token in enumerate(ids)
    ]
    cut = 0 if max_tokens is None else max(0, len(ids) - max_tokens)
    # The first token that is left predicts the next one, and is predicted by nothing.
    if cut >= max(1, completion.start):
        raise ConfigError(
            f"the output {shown(text.completion)} takes {len(ids) - completion.start} tokens, for which max_tokens "
            f"{max_tokens} leaves no room behind a prompt. Raise max_tokens, or leave the record out."
        )
    kept = slice(cut, None)
    return Example(input_ids=ids[kept], labels=labels[kept], answer_mask=answer[kept])
