"""Putting back what a matrix answered to some inputs, whatever it has learnt since.

Shape legend: K keys, N inputs of a matrix.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edit_lit.deltas.swap import on_cpu
from edit_lit.guards.protected_write import ProtectedWrite
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.module_tree import base_layer


@dataclass(frozen=True)
class PutBack:
    """What was done to one matrix.

    Args:
        rank: Input directions along which it was changed.
        inputs: Its inputs.
        moved: How far its answers were off, in relation to their norm.
    """

    rank: int
    inputs: int
    moved: float


@torch.no_grad()
def put_back(module: nn.Module, before: Mapping[str, Tensor], keys_KN: Tensor, energy: float = 1.0) -> PutBack:
    """Change a projection W so that it answers to keys as it once did, and to what is orthogonal to them as it does.

    W becomes W − (W Q − W_b Q) Qᵀ, with W_b the matrix as it was and Q an orthonormal basis of the keys, in float64,
    rounded once. A bias that is another one now counts as a further column of W, and each key ends in a 1.

    Args:
        module: A Linear or Conv1D.
        before: Its parameters as they were, by name.
        keys_KN: The keys, [K, N].
        energy: The share of their energy that counts; below 1 the answers are approximate.

    Raises:
        ConfigError: If the keys span all inputs, so that nothing of the matrix as it is would be left.
    """
    twin = copy.deepcopy(module).double()
    now = {name: parameter.detach().clone() for name, parameter in twin.named_parameters()}
    for name, parameter in twin.named_parameters():
        # A bias that is still the same needs no column.
        parameter.requires_grad_(name == "weight" or not _same(module, before[name], name))
        parameter.copy_(before[name])
    write = ProtectedWrite(twin, keys_KN, energy)
    twin.load_state_dict(now)
    write.restore()
    for name, parameter in module.named_parameters():
        if name == "weight" or write.bias is not None:
            parameter.copy_(twin.get_parameter(name))
    return PutBack(write.rank, write.inputs, float(write.moved))


def own_projection(language_model: LanguageModel, layer: int) -> nn.Module:
    """A layer's MLP output projection, without an adapter around it."""
    return base_layer(language_model.output_projection(layer))


def remembered(module: nn.Module) -> dict[str, Tensor]:
    """Copies of a module's parameters by name, on the CPU."""
    return {name: on_cpu(parameter) for name, parameter in module.named_parameters()}


def _same(module: nn.Module, values: Tensor, name: str) -> bool:
    parameter = module.get_parameter(name).detach()
    return torch.equal(parameter, values.to(parameter.device))
