"""Weights right after the edit and now, with an adapter merged into them, one matrix at a time in float64.

Shape legend: O outputs and I inputs of a matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from edit_lit.deltas import ModelStates, Update
from edit_lit.language_model.module_tree import base_layer
from edit_lit.tuning.merging import merged_copy, of_adapters, tuner_layers, wrapped_by_adapters


@dataclass(frozen=True)
class Matrix:
    """A matrix and its bias, in float64.

    Args:
        weight_OI: The matrix, however the model stores it.
        bias_O: The bias; none if there is none.
    """

    weight_OI: Tensor
    bias_O: Tensor | None = None

    def __call__(self, inputs: Tensor) -> Tensor:
        """What the matrix makes of some inputs, [.., I] to [.., O]."""
        outputs = inputs @ self.weight_OI.T
        return outputs if self.bias_O is None else outputs + self.bias_O


def matrix_now(module: nn.Module) -> Matrix:
    """What a projection multiplies by now; an adapter that is around it is merged into a copy.

    Raises:
        ConfigError: If it is an adapter that cannot be merged.
    """
    inner = merged_copy(module) if isinstance(module, BaseTunerLayer) else module
    return _matrix(inner, {})


def matrix_right_after_edit(module: nn.Module, states: ModelStates) -> Matrix:
    """What a projection multiplied by right after the edit, without an adapter."""
    inner = base_layer(module)
    return _matrix(inner, {name: states.edited_value(parameter) for name, parameter in inner.named_parameters()})


def oriented(update: Update, module: nn.Module) -> Update:
    """The update of a projection's weight as outputs × inputs."""
    return update.transposed if isinstance(base_layer(module), Conv1D) else update


def block_change(block: nn.Module, states: ModelStates) -> tuple[float, float]:
    """Frobenius norms of the change of a block's weights since the edit, and of the weights right after it.

    What an adapter adds to a weight counts as that weight's change.
    """
    changes, sizes = [0.0], [0.0]
    for then, now in _weights(block, states):
        then = then.to(now.device, torch.float64)
        changes.append(float((now.double() - then).norm()))
        sizes.append(float(then.norm()))
    return math.hypot(*changes), math.hypot(*sizes)


def _weights(block: nn.Module, states: ModelStates) -> Iterator[tuple[Tensor, Tensor]]:
    """Each weight of a block right after the edit and now; one that cannot have changed is given as it is."""
    for layer in tuner_layers(block):
        base = layer.get_base_layer()
        assert isinstance(layer, nn.Module)
        trains = any(parameter.requires_grad for parameter in layer.parameters())
        merged = dict((merged_copy(layer) if trains else base).named_parameters())
        for name, parameter in base.named_parameters():
            yield states.edited_value(parameter), merged[name].detach()
    adapted = {id(parameter) for parameter in (*wrapped_by_adapters(block), *of_adapters(block))}
    for parameter in block.parameters():
        if id(parameter) not in adapted:
            yield states.edited_value(parameter), parameter.detach()


def _matrix(module: nn.Module, values: Mapping[str, Tensor]) -> Matrix:
    """A projection's matrix and bias, or those that are given in their place."""
    own = dict(module.named_parameters())
    found = {name: values.get(name, parameter) for name, parameter in own.items()}
    device = own["weight"].device
    kept = {name: value.detach().to(device, torch.float64) for name, value in found.items()}
    weight = kept["weight"].T if isinstance(module, Conv1D) else kept["weight"]
    return Matrix(weight, kept.get("bias"))
