"""The weights under edit: changed in place in float64, put back bit for bit at the end.

Shape legend: N size of the MLP, D hidden size, B facts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from edit_lit.deltas.updates import Update, added, smallest
from edit_lit.editors.base.constraints import UpdateConstraint
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.module_tree import base_layer, projection_weight
from edit_lit.utilities.finite import check_finite


class WeightWorkspace:
    """The output projections of some layers; a context manager that puts them back bit for bit.

    The edited weights are summed up in float64 and the model's own are rounded from that sum, so that updates too
    small for a half-precision weight are not lost on the way.

    Args:
        language_model: The model.
        layers: The layers.
        constraint: Limits each update, and their sum at the end.
    """

    def __init__(
        self, language_model: LanguageModel, layers: Sequence[int], constraint: UpdateConstraint | None = None
    ) -> None:
        self.language_model = language_model
        self.constraint = constraint
        self._modules = {layer: base_layer(language_model.output_projection(layer)) for layer in layers}
        self._originals: dict[int, Tensor] = {}
        self._masters_DN: dict[int, Tensor] = {}
        self._updates: dict[int, Update] = {}

    def __enter__(self) -> WeightWorkspace:
        for layer in self._modules:
            self._originals[layer] = self.parameter(layer).detach().clone()
            self._masters_DN[layer] = self.oriented(layer, self._originals[layer]).double().clone()
        return self

    @torch.no_grad()
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for layer, original in self._originals.items():
            self.parameter(layer).copy_(original)

    def parameter(self, layer: int) -> nn.Parameter:
        """The weight of a layer's output projection, as the model uses it now."""
        return projection_weight(self._modules[layer])

    def weight(self, layer: int) -> Tensor:
        """The edited weight before rounding, outputs × inputs, [D, N], float64."""
        return self._masters_DN[layer]

    @torch.no_grad()
    def add(self, layer: int, update: Update) -> None:
        """Change a layer's weight by an update [D, N], as far as the constraint lets it.

        Raises:
            ConfigError: If the edited weight holds NaN or infinity.
        """
        if self.constraint is not None:
            update = self.constraint.of_step(update, self._masters_DN[layer])
        self._masters_DN[layer] += update.dense()
        self.parameter(layer).copy_(self.oriented(layer, self._masters_DN[layer]))
        remedy = "Load the model with dtype float32, or edit with less learning rate or more regularisation."
        check_finite(self.parameter(layer), f"the edited weight of layer {layer}", remedy)
        self._updates[layer] = added(self._updates[layer], update) if layer in self._updates else smallest(update)

    @torch.no_grad()
    def total(self) -> Mapping[str, Update]:
        """What is to be added to each stored weight, by its parameter's name, after the constraint on the sum."""
        totals = {}
        for layer, update in self._updates.items():
            if self.constraint is not None:
                update = smallest(self.constraint.of_sum(update, self.oriented(layer, self._originals[layer])))
            name = self.language_model.parameter_name(self.parameter(layer))
            totals[name] = (update.transposed if self._is_transposed(layer) else update).in_float32()
        return totals

    def _is_transposed(self, layer: int) -> bool:
        return isinstance(self._modules[layer], Conv1D)

    def oriented(self, layer: int, matrix: Tensor) -> Tensor:
        """A matrix shaped as the parameter, as [D, N]; and the other way round."""
        return matrix.T if self._is_transposed(layer) else matrix
