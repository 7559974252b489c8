"""What the beginning of a text leaves behind for the rest of it to attend to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import DynamicCache


@dataclass(frozen=True)
class KVCacheSlice:
    """Attention keys and values of the tokens before each of some rows, so that those tokens need not run again.

    Each row's past stands at the end of a common length and is padded on the left, as in generation: distances
    between tokens are then what they would be in the whole text, also for windows and ALiBi.

    Args:
        layers: Keys and values of each layer, each [rows, heads, past, head size]; nothing for a layer that will not
            run.
        lengths: Real tokens of each row's past, [rows].
        size: The common length.
    """

    layers: Sequence[tuple[Tensor, Tensor] | None]
    lengths: Tensor
    size: int

    @classmethod
    def of(cls, cache: DynamicCache, begins: Tensor, lengths: Tensor, layers: range) -> KVCacheSlice | None:
        """A part of each row of a cache.

        Args:
            cache: What a forward pass left behind.
            begins: The column in which each row's text begins, [rows].
            lengths: How many tokens of each row to take, [rows].
            layers: The layers that will run.

        Returns:
            The past; nothing where no row has any, or where the model keeps something other than one key and one
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
        """The past of some of the rows."""
        layers = [None if pair is None else (pair[0][index], pair[1][index]) for pair in self.layers]
        return KVCacheSlice(layers, self.lengths[index], self.size)

    def above(self, first_layer: int) -> KVCacheSlice:
        """The past for running the layers from one on."""
        return replace(self, layers=[None] * first_layer + list(self.layers[first_layer:]))

    def cache(self) -> DynamicCache:
        """A cache for one forward pass, which will append to it."""
        # A model asks the lowest layer how long its past is, so that one that does not run still has a length.
        absent = torch.zeros(1, 1, 1, 1, device=self.lengths.device).expand(len(self.lengths), 1, self.size, 1)
        return DynamicCache([pair or (absent, absent) for pair in self.layers])

    def mask(self, length: int) -> Tensor:
        """1 where there is a token to attend to, over the past and ``length`` more tokens, [rows, past + length]."""
        columns_P = torch.arange(self.size, device=self.lengths.device)
        seen_SP = (columns_P >= self.size - self.lengths[:, None]).long()
        return torch.cat([seen_SP, seen_SP.new_ones(len(seen_SP), length)], dim=1)

    def positions(self, length: int) -> Tensor:
        """Positions of ``length`` more tokens in each row's text, [rows, length]."""
        return self.lengths[:, None] + torch.arange(length, device=self.lengths.device)
