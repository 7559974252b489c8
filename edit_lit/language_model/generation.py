"""Generation by the weights alone, whatever the checkpoint's generation config says."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from peft import PeftModel
from torch import Tensor
from transformers import GenerationConfig

from edit_lit.language_model.limits import check_lengths
from edit_lit.language_model.model import LanguageModel
from edit_lit.language_model.modes import evaluating
from edit_lit.language_model.spans import encode_many
from edit_lit.language_model.token_batch import TokenBatch, length_batches
from edit_lit.utilities import distributed
from edit_lit.utilities.text import shown


@dataclass(frozen=True)
class Continuation:
    """What a model writes behind a prompt.

    Args:
        text: The text, without special tokens.
        tokens: How many tokens were written, without the end-of-sequence token.
        ended: Whether the model ended the text; if not, it was cut off after ``tokens`` tokens.
    """

    text: str
    tokens: int
    ended: bool


def continuations(
    language_model: LanguageModel, prompts: Sequence[str], max_new_tokens: int, batch_tokens: int = 8192
) -> list[str]:
    """The texts of :func:`greedy_continuations`.

    Args:
        language_model: The model.
        prompts: The prompts.
        max_new_tokens: Most tokens to write.
        batch_tokens: Tokens in a batch, padding and written tokens included.

    Raises:
        ConfigError: If the model has too few positions for a prompt and what is written behind it.
    """
    return [one.text for one in greedy_continuations(language_model, prompts, max_new_tokens, batch_tokens)]


def greedy_continuations(
    language_model: LanguageModel, prompts: Sequence[str], max_new_tokens: int, batch_tokens: int = 8192
) -> list[Continuation]:
    """Greedy continuations of prompts, up to the end-of-sequence token, without special tokens.

    Each token is the argmax of the model's logits, and nothing else. With several processes each generates for a share
    of the prompts and all get all texts.

    Args:
        language_model: The model.
        prompts: The prompts.
        max_new_tokens: Most tokens to write.
        batch_tokens: Tokens in a batch, padding and written tokens included.

    Raises:
        ConfigError: If the model has too few positions for a prompt and what is written behind it.
    """
    ids = [encoded.ids for encoded in encode_many(language_model.tokenizer, list(prompts))]
    check_continuations(language_model, prompts, [len(row) for row in ids], max_new_tokens)
    batches = length_batches([len(row) + max_new_tokens for row in ids], batch_tokens)
    mine: dict[int, Continuation] = {}
    with evaluating(language_model.model):
        for batch in distributed.shard(_of_equal_length(language_model, batches, ids)):
            mine |= zip(batch, _write(language_model, [ids[index] for index in batch], max_new_tokens), strict=True)
    written = {index: found for share in distributed.from_all_processes(mine) for index, found in share.items()}
    return [written[index] for index in range(len(prompts))]


def check_continuations(
    language_model: LanguageModel, prompts: Sequence[str], lengths: Sequence[int], max_new_tokens: int
) -> None:
    """Refuse prompts that leave too few positions for what is written behind them.

    Args:
        language_model: The model.
        prompts: The prompts.
        lengths: Tokens of each.
        max_new_tokens: Most tokens to write.

    Raises:
        ConfigError: Naming the longest prompt and the limit.
    """
    check_lengths(
        language_model,
        [length + max_new_tokens for length in lengths],
        lambda longest: f"the prompt {shown(prompts[longest])} with max_new_tokens {max_new_tokens} behind it",
        "Lower max_new_tokens, or shorten the prompt",
    )


def generated(language_model: LanguageModel, ids: Tensor, mask: Tensor, **options: Any) -> Tensor:
    """What ``transformers`` generates by the model's weights and the given options, and nothing else.

    A checkpoint may come with settings of its own, such as a repetition penalty, a temperature or tokens to suppress.
    None of them counts here; the tokenizer says which token ends a text.

    Args:
        language_model: The model.
        ids: Prompts, padded on the left, [rows, length].
        mask: 1 on real tokens, 0 on padding, [rows, length].
        options: Options of ``generate``.

    Returns:
        Prompts and what follows them, [rows, longer].
    """
    tokenizer = language_model.tokenizer
    padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    with _own_settings_aside(language_model), warnings.catch_warnings():
        # Of a learned prompt; rows without padding need none.
        warnings.filterwarnings("ignore", "Position ids are not supported for parameter efficient tuning")
        output = language_model.model.generate(  # type: ignore[operator] # an adapter's wrapper hides what it is
            input_ids=ids,
            attention_mask=mask,
            pad_token_id=0 if padding is None else padding,
            eos_token_id=tokenizer.eos_token_id,
            **options,
        )
    assert isinstance(output, Tensor)
    return output


@contextmanager
def _own_settings_aside(language_model: LanguageModel) -> Iterator[None]:
    """Without the generation config of the checkpoint, which would fill in whatever an option does not say."""
    model = language_model.model
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    own, inner.generation_config = inner.generation_config, GenerationConfig()
    try:
        yield
    finally:
        inner.generation_config = own


def _of_equal_length(
    language_model: LanguageModel, batches: Sequence[list[int]], ids: Sequence[Sequence[int]]
) -> list[list[int]]:
    """The batches; where a prompt is learned, each without padding, since peft then counts positions from its start."""
    if not _learns_prompt(language_model):
        return [*batches]
    whole: list[list[int]] = []
    for batch in batches:
        by_length: dict[int, list[int]] = {}
        for index in batch:
            by_length.setdefault(len(ids[index]), []).append(index)
        whole += by_length.values()
    return whole


def _learns_prompt(language_model: LanguageModel) -> bool:
    model = language_model.model
    return isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning


def _write(language_model: LanguageModel, ids: list[list[int]], max_new_tokens: int) -> list[Continuation]:
    # Turned around, padding on the right is the padding on the left that writing needs.
    turned = TokenBatch.of([row[::-1] for row in ids], language_model.device)
    output = generated(
        language_model,
        turned.ids.flip(1),
        turned.mask.flip(1),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
    )
    rows = output[:, turned.ids.shape[1] :]
    texts = language_model.tokenizer.batch_decode(rows, skip_special_tokens=True)
    return [_continuation(language_model, row, text) for row, text in zip(rows.tolist(), texts, strict=True)]


def _continuation(language_model: LanguageModel, row: list[int], text: str) -> Continuation:
    end = language_model.tokenizer.eos_token_id
    ended = end is not None and end in row
    return Continuation(text, row.index(end) if ended else len(row), ended)
