"""What many rows begin with: the same context before every fact's prompt, run once for all of them.

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
    """For each context, the tokens that all of its rows have in common, at most up to the subject's last one.

    They run for themselves, a row for each context, and what they leave behind is what the rest of every row attends
    to. What a layer is left with does not depend on that layer's own MLP or on any above: when weights change, only
    the layers above them run again.

    Args:
        language_model: The model.
        rows: All rows.
        last_layer: The last layer that the rows will run.
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
        """Run again what lies above the layer where they last were, up to a layer, and go on from there next time."""
        if self._past is not None:
            first = self._hidden[0] + 1 if self._hidden else 0
            self._hidden = layer, self._run(range(first, layer + 1))

    def renew(self) -> None:
        """Run again all that lies above the layer where they last were, with the weights as they are now."""
        if self._past is not None:
            first = self._hidden[0] + 1 if self._hidden else 0
            self._run(range(first, len(self._past.layers)))

    @torch.no_grad()
    def _run(self, layers: range) -> Tensor:
        """Run some layers and keep what they are left with; gives the output of the last."""
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
        """Where each row's rest starts."""
        return [self._lengths[row.context] if self._past else 0 for row in rows]

    def before(self, rows: Sequence[SubjectRow], first_layer: int = 0) -> KVCacheSlice | None:
        """What stands before each row's rest, for the layers from one on."""
        if self._past is None:
            return None
        places = torch.tensor([self._places[row.context] for row in rows], device=self.language_model.device)
        return self._past.above(first_layer)[places]


def _common(first: list[int], second: list[int]) -> list[int]:
    """The tokens with which both begin."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    return [token for token, _ in pairs]
