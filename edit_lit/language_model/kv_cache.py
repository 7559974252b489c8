"""Slices of a KV cache: the attention keys and values of the tokens before a row, so that they need not run again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import DynamicCache


@dataclass(frozen=True)
class KVCacheSlice:
    """The KV cache of the tokens before each row of a batch.

    The cached tokens are padded on the left to a common length, as in generation: distances between tokens are then
    what they would be in the whole text, also for sliding windows and ALiBi.

    Args:
        layers: Keys and values of each layer, each [rows, heads, cached, head size]; None for a layer that will not
            run.
        lengths: How many tokens are cached for each row, [rows].
        size: The common length.
    """

    layers: Sequence[tuple[Tensor, Tensor] | None]
    lengths: Tensor
    size: int

    @classmethod
    def of(cls, cache: DynamicCache, begins: Tensor, lengths: Tensor, layers: range) -> KVCacheSlice | None:
        """Take the first tokens of each row from the cache of a forward pass.

        Args:
            cache: The cache after the pass.
            begins: The column in which each row's text begins, [rows].
            lengths: How many tokens of each row to take, [rows].
            layers: The layers that will run.

        Returns:
            The slice; None if no row has a token to take, or if the model keeps something other than one key and one
            value a token.
        """
        size = int(lengths.max())
        found = dict(enumerate((keys, values) for keys, values, _ in cache))
        pairs = [found.get(layer, (None, None)) for layer in layers]
        if size == 0 or not pairs or any(keys is None or keys.shape[-2] < size for keys, _ in pairs):
            return None
        column_SP = (begins[:, None] + lengths[:, None] - size + torch.arange(size, device=lengths.device)).clamp(min=0)
        row_S1 = torch.arange(len(lengths), device=lengths.device)[:, None]

        def taken(states: Tensor) -> Tensor:
            return states.transpose(1, 2)[row_S1, column_SP].transpose(1, 2)

        return cls([None] * layers.start + [(taken(keys), taken(values)) for keys, values in pairs], lengths, size)

    def __getitem__(self, index: Tensor) -> KVCacheSlice:
        """The slice of some of the rows."""
        layers = [None if pair is None else (pair[0][index], pair[1][index]) for pair in self.layers]
        return KVCacheSlice(layers, self.lengths[index], self.size)

    def above(self, first_layer: int) -> KVCacheSlice:
        """The slice without the layers below ``first_layer``, which will not run."""
        return replace(self, layers=[None] * first_layer + list(self.layers[first_layer:]))

    def cache(self) -> DynamicCache:
        """The slice as a cache for one forward pass, which will append to it."""
        # A model asks the lowest layer how many tokens are cached, so that one that does not run still has a length.
        absent = torch.zeros(1, 1, 1, 1, device=self.lengths.device).expand(len(self.lengths), 1, self.size, 1)
        return DynamicCache([pair or (absent, absent) for pair in self.layers])

    def mask(self, length: int) -> Tensor:
        """The attention mask over the cached and ``length`` more tokens, [rows, cached + length]."""
        columns_P = torch.arange(self.size, device=self.lengths.device)
        seen_SP = (columns_P >= self.size - self.lengths[:, None]).long()
        return torch.cat([seen_SP, seen_SP.new_ones(len(seen_SP), length)], dim=1)

    def positions(self, length: int) -> Tensor:
        """The position ids of ``length`` more tokens, [rows, length]."""
        return self.lengths[:, None] + torch.arange(length, device=self.lengths.device)
