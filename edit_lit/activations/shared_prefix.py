"""A KV cache of the prefix that many rows share: the context in front of every fact's prompt runs once.

Shape legend: C contexts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import takewhile

import torch
from torch import Tensor

from edit_lit.activations.token_rows import SubjectRow
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.hooks import recorded_kv_cache, recorded_output
from edit_lit.language_model.kv_cache import KVCacheSlice
from edit_lit.language_model.partial_forward import run_blocks
from edit_lit.language_model.token_batch import TokenBatch


class SharedPrefixCache:
    """The KV cache of each context's prefix: the tokens that all rows of the context begin with.

    A prefix ends before the subject's last token. Prefixes run once, one row a context; the rest of every row, its
    suffix, then runs with the prefix's KV cache in front of it. A layer's keys and values do not depend on its own MLP
    or on any layer above: when weights change, only the layers above them run again.

    Args:
        language_model: The model.
        rows: All rows.
        last_layer: The last layer that the suffixes will run.
    """

    def __init__(self, language_model: LanguageModel, rows: Iterable[SubjectRow], last_layer: int) -> None:
        self.language_model = language_model
        shared: dict[str, list[int]] = {}
        for row in rows:
            before = row.ids[: row.subject_last]
            shared[row.context] = _common(shared.get(row.context, before), before)
        self._places = {context: place for place, context in enumerate(shared)}
        self._lengths = {context: len(ids) for context, ids in shared.items()}
        self._hidden: tuple[int, Tensor] | None = None
        self._past: KVCacheSlice | None = None
        if any(shared.values()):
            self._rows = TokenBatch.of(list(shared.values()), language_model.device)
            self._run(range(last_layer + 1))

    def advance(self, layer: int) -> None:
        """Run the prefixes on to the output of a layer, which is kept, so that the next call goes on from there."""
        if self._past is not None:
            first = self._hidden[0] + 1 if self._hidden else 0
            self._hidden = layer, self._run(range(first, layer + 1))

    def renew(self) -> None:
        """Run all layers above the kept output again, with the weights as they are now."""
        if self._past is not None:
            first = self._hidden[0] + 1 if self._hidden else 0
            self._run(range(first, len(self._past.layers)))

    @torch.no_grad()
    def _run(self, layers: range) -> Tensor:
        """Run some layers and keep their KV cache; returns the output of the last."""
        language_model, lengths_C = self.language_model, self._rows.mask.sum(1)
        with recorded_kv_cache(language_model) as seen, recorded_output(language_model.blocks[layers[-1]]) as output:
            run_blocks(language_model, self._rows, resume=self._hidden, stop_after=layers[-1])
        past = KVCacheSlice.of(seen.cache, torch.zeros_like(lengths_C), lengths_C, layers)
        if past is not None and self._past is not None:
            kept = self._past.layers
            past = replace(past, layers=[*kept[: layers.start], *past.layers[layers.start :], *kept[layers.stop :]])
        self._past = past
        return output.take()

    def starts(self, rows: Sequence[SubjectRow]) -> list[int]:
        """Where each row's suffix starts."""
        return [self._lengths[row.context] if self._past else 0 for row in rows]

    def before(self, rows: Sequence[SubjectRow], first_layer: int = 0) -> KVCacheSlice | None:
        """The KV cache in front of each row's suffix, for the layers from ``first_layer`` on."""
        if self._past is None:
            return None
        places = torch.tensor([self._places[row.context] for row in rows], device=self.language_model.device)
        return self._past.above(first_layer)[places]


def _common(first: list[int], second: list[int]) -> list[int]:
    """The longest common prefix."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    return [token for token, _ in pairs]
