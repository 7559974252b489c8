"""A Delta of a new kind: values beside the model, which replace an MLP's output where its input is near a key.

The idea is GRACE's (Hartvigsen et al., arXiv 2211.11031), cut down to one layer and one radius. The weights stay as
they are, and the projection stays the same object, so that fine-tuning reaches it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from edit_lit.activations.hook_points import MLPOutput
from edit_lit.activations.keys import KeyExtractor
from edit_lit.activations.token_rows import prompt_rows, statement_rows
from edit_lit.deltas import Part, Provenance
from edit_lit.editors import Editor, TargetValues
from edit_lit.editors.base.editor import Computation
from edit_lit.editors.targets.search import find_target_values
from edit_lit.facts import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import frozen


class Codebook(Part):
    """Adds a value to the output of a projection wherever its input lies within a radius of that value's key.

    Args:
        layer: The layer whose MLP output projection it stands beside.
        keys: [F, N].
        values: What is added, [F, D]; relative to the projection's own output.
        radius: Largest distance at which a key answers.
    """

    kind = "codebook"

    def __init__(self, layer: int, keys: Tensor, values: Tensor, radius: float) -> None:
        self.layer, self.keys, self.values, self.radius = layer, keys, values, radius
        self._handle: RemovableHandle | None = None

    def check(self, language_model: LanguageModel) -> None:
        """Refuse a model without this layer."""
        language_model.check_layers([self.layer], "layer")

    def attach(self, language_model: LanguageModel) -> None:
        """Listen to the projection."""
        self._handle = language_model.output_projection(self.layer).register_forward_hook(self._answer)

    def detach(self, language_model: LanguageModel) -> None:
        """Stop listening."""
        assert self._handle is not None
        self._handle.remove()

    def _answer(self, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        keys, values = self.keys.to(inputs[0]), self.values.to(output)
        distance, nearest = torch.cdist(inputs[0].flatten(0, -2), keys).min(dim=-1)
        answered = (distance <= self.radius)[:, None] * values[nearest]
        return output + answered.view(output.shape)

    def tensors(self) -> Mapping[str, Tensor]:
        """Keys and values."""
        return {"keys": self.keys, "values": self.values}

    def fields(self) -> Mapping[str, Any]:
        """Where it stands, and the radius."""
        return {"layer": self.layer, "radius": self.radius}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> Codebook:
        """The codebook of stored keys and values."""
        return cls(fields["layer"], tensors["keys"], tensors["values"], fields["radius"])

    def merged(self, other: Part) -> Part | None:
        """Codebooks stand side by side."""
        return None


class CodebookEditor(Editor):
    """Keeps each fact's key and target value in a codebook beside one layer.

    Args:
        layer: The layer.
        radius: Largest distance at which a key answers, as a share of the keys' mean norm.
        target_values: How target values are found.
    """

    kinds = (Codebook,)

    def __init__(self, layer: int, radius: float = 0.1, target_values: TargetValues = TargetValues()) -> None:
        self.layer = layer
        self.radius = radius
        self.target_values = target_values

    def edited_layers(self, language_model: LanguageModel) -> list[int]:
        """The one layer."""
        language_model.check_layers([self.layer], "layer")
        return [self.layer]

    def prepare(self, language_model: LanguageModel, requests: Sequence[EditRequest]) -> Computation:
        """Tokenise the prompts."""
        self.edited_layers(language_model)
        tokenizer = language_model.tokenizer
        prompts = prompt_rows(tokenizer, requests, ["{}"])
        anchors = statement_rows(tokenizer, requests, self.target_values.kl_anchor_prompt)

        def compute(provenance: Provenance) -> tuple[list[Part], dict[str, Any]]:
            """Search target values at the MLP's output; keys and what the values lack now make the codebook."""
            place = MLPOutput()
            with frozen(language_model.model):
                found = find_target_values(self.target_values, language_model, self.layer, prompts, anchors, place)
                now = KeyExtractor(language_model, prompts, self.layer, hook_point=place).read(self.layer)
            keys, values = now.bare_keys, found.values.double() - now.values
            radius = self.radius * float(keys.norm(dim=1).mean())
            book = Codebook(self.layer, keys.float().cpu(), values.float().cpu(), radius)
            return [book], {"unfinished_targets_count": int(found.unfinished.sum())}

        return compute
