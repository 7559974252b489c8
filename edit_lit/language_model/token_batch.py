"""Padded batches of token rows, and the grouping of rows by length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edit_lit.language_model.kv_cache import KVCacheSlice


@dataclass(frozen=True)
class TokenBatch:
    """Token rows as model input, padded on the right whatever the tokenizer's own padding side.

    In a causal model nothing after a token reaches it, so right padding changes no hidden state of the
    real tokens, and absolute positions start at 0 in every row.

    Args:
        ids: Token ids, [rows, length].
        mask: 1 on real tokens, 0 on padding, [rows, length].
        positions: Position of each token in its own text, [rows, length], where rows hold several texts that must not
            see each other; the mask is not used then, since padding is a text of its own.
        past: KV cache of the tokens before the rows, where these have run already.
    """

    ids: Tensor
    mask: Tensor
    positions: Tensor | None = None
    past: KVCacheSlice | None = None

    @classmethod
    def of(
        cls, rows: Sequence[Sequence[int]], device: torch.device | str = "cpu", past: KVCacheSlice | None = None
    ) -> TokenBatch:
        """Pad rows of token ids to the longest of them."""
        lengths = torch.tensor([len(row) for row in rows])
        ids = pad_right(rows, 0)
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        return cls(ids.to(device), mask.to(device), past=past)

    def __getitem__(self, index: Tensor) -> TokenBatch:
        """Some of the rows, at the same length."""
        positions = None if self.positions is None else self.positions[index]
        return TokenBatch(self.ids[index], self.mask[index], positions, None if self.past is None else self.past[index])

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> TokenBatch:
        """The same on a device, for rows with nothing before them."""
        assert self.past is None, "a KV cache stays where its model is"
        positions = None if self.positions is None else self.positions.to(device)
        return TokenBatch(self.ids.to(device), self.mask.to(device), positions)

    @property
    def begins(self) -> Tensor:
        """The column in which each row's text begins in a cache that holds ``past`` and the rows, [rows]."""
        return self.ids.new_zeros(len(self)) if self.past is None else self.past.size - self.past.lengths


def pad_right(rows: Sequence[Sequence[int]], fill: int, dtype: torch.dtype = torch.long) -> Tensor:
    """Rows of unequal length as one tensor, [rows, longest], filled up on the right."""
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *([fill] * (longest - len(row)))] for row in rows], dtype=dtype)


def length_batches(lengths: Sequence[int], max_tokens: int, max_rows: int | None = None) -> list[list[int]]:
    """Group rows of similar length, so that at most a fifth of a batch is padding.

    Args:
        lengths: Tokens of each row.
        max_tokens: Most tokens, padding included, that a batch may hold; a longer row stands alone.
        max_rows: Most rows that a batch may hold; no limit of its own if not given.

    Returns:
        Positions of rows, shortest rows first. Equal lengths keep their order, so that the grouping
        depends on nothing but the lengths.
    """
    batches: list[list[int]] = []
    real = 0
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        rows = len(batches[-1]) + 1 if batches else 1
        padded = rows * lengths[position]
        fits = padded <= max_tokens and real + lengths[position] >= 0.8 * padded and (not max_rows or rows <= max_rows)
        if batches and fits:
            batches[-1].append(position)
        else:
            batches.append([position])
            real = 0
        real += lengths[position]
    return batches
