"""Keys of the model as it is, from the lowest layer up, and what matrices answer to them.

Shape legend: K keys, N inputs and O outputs of a matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from edit_lit.activations.keys import KeyExtractor
from edit_lit.activations.token_rows import SubjectRow
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.module_tree import as_linear, projection_weight


def keys_upwards(
    language_model: LanguageModel, rows: Sequence[Sequence[SubjectRow]], layers: Sequence[int]
) -> Iterator[tuple[int, Tensor]]:
    """The prompts' keys at each layer, [K, N], from the lowest up, through the layers below as they are by then.

    Whoever changes a layer before taking the next one gets the keys that come of that.

    Args:
        language_model: The model, in evaluation mode.
        rows: Each prompt as a row of its own.
        layers: The layers.
    """
    reader = KeyExtractor(language_model, rows, value_layer=max(layers))
    for layer in sorted(layers):
        reader.advance(layer - 1)
        yield layer, reader.read(layer).bare_keys


@torch.no_grad()
def answers_to(module: nn.Module, keys_KN: Tensor) -> Tensor:
    """What a projection answers to keys, its bias included, in float64, [K, O]."""
    answers_KO = keys_KN.double() @ as_linear(module, projection_weight(module)).double().T
    bias = getattr(module, "bias", None)
    return answers_KO if bias is None else answers_KO + bias.double()
