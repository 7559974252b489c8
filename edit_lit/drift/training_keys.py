"""How near the keys of edited facts are to those of texts that a model is about to be fine-tuned on.

Shape legend: E edits, B rows, T tokens, N size of the MLP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

import torch
import torch.nn.functional as F
from torch import Tensor

from edit_lit.drift.reading import seen
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import evaluating
from edit_lit.language_model.partial_forward import run_blocks
from edit_lit.language_model.token_batch import TokenBatch, length_batches
from edit_lit.utilities import distributed

LONGEST = 512
"""Tokens of a text that are read, from the first on."""


def nearest_training_keys(
    language_model: LanguageModel,
    keys: Mapping[int, Tensor],
    texts: Sequence[Sequence[int]],
    batch_tokens: int = 8192,
) -> dict[int, Tensor]:
    """The largest cosine of each edit's key to a key of some texts, at all of their tokens, layer by layer.

    It costs a forward pass over the texts up to the highest of the layers, and in each of them 2 × edits × tokens × N
    operations in float64. A layer's keys are compared as soon as it has run, one text at a time, so that none are kept:
    16 bytes × tokens of a text × N at a time. All processes share the work and get the same.

    Args:
        language_model: The model, in the state in which the edits' keys were read.
        keys: Keys of the edits by layer, [E, N].
        texts: The texts as tokens; each is cut behind its 512th.
        batch_tokens: Tokens in a batch, padding included.

    Returns:
        Cosines by layer, float64 [E], on the CPU; NaN for a key that is 0, and for all without texts.
    """
    rows = [text[:LONGEST] for text in texts]
    batches = length_batches([len(row) for row in rows], batch_tokens)
    device = language_model.device
    unit = {layer: F.normalize(of_layer.to(device, torch.float64), dim=1, eps=0) for layer, of_layer in keys.items()}
    # Each batch is read in one process, so that the sum over processes gathers them.
    nearest = {layer: unit_EN.new_zeros(len(batches), len(unit_EN)) for layer, unit_EN in unit.items()}
    with evaluating(language_model.model):
        for number in distributed.shard(list(range(len(batches)))) if keys else []:
            batch = [rows[place] for place in batches[number]]
            for layer, largest_E in _nearest_in(language_model, batch, unit).items():
                nearest[layer][number] = largest_E
    whole = {layer: distributed.sum_over_processes(of_layer).cpu() for layer, of_layer in nearest.items()}
    none = torch.tensor(-torch.inf, dtype=torch.float64)
    largest = {
        layer: torch.cat([none.expand(1, of_layer.shape[1]), of_layer]).amax(0) for layer, of_layer in whole.items()
    }
    return {layer: torch.where(of_layer.isinf(), torch.nan, of_layer) for layer, of_layer in largest.items()}


def _nearest_in(
    language_model: LanguageModel, rows: Sequence[Sequence[int]], unit: Mapping[int, Tensor]
) -> dict[int, Tensor]:
    """The largest cosine of each unit key to a key of some rows, by layer, [E]; −∞ where there is none."""
    batch, found = TokenBatch.of(rows, language_model.device), dict[int, Tensor]()

    def compare(layer: int) -> Callable[[Tensor], None]:
        def with_keys(value: Tensor) -> None:
            # Without what may stand before the tokens, as a prompt that is learnt.
            keys_BTN = value.view(len(rows), -1, value.shape[-1])[:, -batch.ids.shape[1] :]
            of_rows = [_largest_cosine(unit[layer], keys_BTN[number, : len(row)]) for number, row in enumerate(rows)]
            found[layer] = torch.stack(of_rows).amax(dim=0)

        return with_keys

    # Found out beforehand, or the pass of one token that finds it out would be taken for the rows.
    _ = language_model.blocks_return_tuples
    with ExitStack() as stack:
        for layer in unit:
            stack.enter_context(seen(language_model.output_projection(layer), compare(layer), output=False))
        run_blocks(language_model, batch, stop_after=max(unit))
    return found


def _largest_cosine(unit_EN: Tensor, keys_TN: Tensor) -> Tensor:
    cosine_ET = unit_EN @ F.normalize(keys_TN.double(), dim=1, eps=0).T
    # A key that is 0 has no direction.
    return cosine_ET.clamp(-1, 1).nan_to_num(nan=-torch.inf).amax(dim=1)
