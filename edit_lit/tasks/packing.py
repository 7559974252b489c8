"""Packs several short examples into one row, none of which attends to another.

A packed row carries ``position_ids`` that start at 0 with every example. Given them, and no attention mask, the models
of transformers that build their masks with its shared code let a token attend within its own example only; others read
across. Which of the two a model does is found by running it (:func:`keeps_examples_apart`); one that reads across is
refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import evaluating
from edit_lit.language_model.token_batch import TokenBatch
from edit_lit.tasks.task import IGNORED, Example
from edit_lit.utilities.errors import ConfigError


def pack(examples: Iterable[Example], block_tokens: int) -> Iterator[Example]:
    """Fill rows of at most ``block_tokens`` with whole examples, in their order.

    The first token of an example predicts nothing and is predicted by nothing: its label is dropped, since what
    stands before it belongs to another example.

    Args:
        examples: The examples.
        block_tokens: Most tokens of a row; a longer example stands alone and loses its end.
    """
    row: list[Example] = []
    filled = 0
    for example in examples:
        length = min(len(example["input_ids"]), block_tokens)
        if row and filled + length > block_tokens:
            yield _joined(row)
            row, filled = [], 0
        row.append(_as_packed(example, block_tokens))
        filled += length
    if row:
        yield _joined(row)


def _as_packed(example: Example, tokens: int) -> Example:
    """An example as part of a packed row: at most so many tokens, without the first one's label."""
    return Example(
        input_ids=example["input_ids"][:tokens],
        labels=[IGNORED, *example["labels"][1:tokens]],
        # Whether a row is answered exactly says nothing once it holds several examples.
        answer_mask=[False] * min(len(example["input_ids"]), tokens),
    )


def _joined(row: list[Example]) -> Example:
    return Example(
        input_ids=[token for example in row for token in example["input_ids"]],
        labels=[label for example in row for label in example["labels"]],
        answer_mask=[scored for example in row for scored in example["answer_mask"]],
        position_ids=[position for example in row for position in range(len(example["input_ids"]))],
    )


def keeps_examples_apart(language_model: LanguageModel) -> bool:
    """Whether a packed row gives this model's second example the logits that it gets alone."""
    device = language_model.device
    first, second = [1, 2, 3], [2, 1, 3, 1]
    alone = TokenBatch.of([second], device)
    ids = torch.tensor([[*first, *second]], device=device)
    positions = torch.tensor([[*range(len(first)), *range(len(second))]], device=device)
    packed = TokenBatch(ids, torch.ones_like(ids), positions)
    columns = torch.arange(len(second), device=device)
    with evaluating(language_model.model):
        one = language_model.logits_at(alone, (torch.zeros_like(columns), columns)).float()
        other = language_model.logits_at(packed, (torch.zeros_like(columns), columns + len(first))).float()
    # Rounding is far below what another example's tokens do to the logits.
    return bool((one - other).abs().max() <= 1e-2 * one.std())


def check_packing(language_model: LanguageModel, option: str) -> None:
    """Refuse a model that reads across packed examples.

    Raises:
        ConfigError: Naming the option and the remedy.
    """
    if not keeps_examples_apart(language_model):
        raise ConfigError(
            f"{option} packs several examples into a row, but the attention of "
            f"{type(language_model.model).__name__} reads across them. Leave {option} out."
        )
