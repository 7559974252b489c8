"""Where adapters are in a model, and copies of what they wrap with the adapter merged into it."""

from __future__ import annotations

import copy

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from edit_lit.utilities.errors import ConfigError


def tuner_layers(model: nn.Module) -> list[BaseTunerLayer]:
    """The layers of adapters in a model or a part of one."""
    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


def wrapped_by_adapters(model: nn.Module) -> list[nn.Parameter]:
    """The model's own weights that an adapter is around."""
    return [parameter for layer in tuner_layers(model) for parameter in layer.get_base_layer().parameters()]


def of_adapters(model: nn.Module) -> list[nn.Parameter]:
    """The weights that adapters add."""
    wrapped = {id(parameter) for parameter in wrapped_by_adapters(model)}
    modules = [layer for layer in tuner_layers(model) if isinstance(layer, nn.Module)]
    return [parameter for module in modules for parameter in module.parameters() if id(parameter) not in wrapped]


@torch.no_grad()
def merged_copy(module: BaseTunerLayer) -> nn.Module:
    """A copy in float64 of what an adapter wraps, with the adapter merged into it; the adapter stays as it is.

    Raises:
        ConfigError: If the adapter is of a kind that cannot be merged.
    """
    twin = copy.deepcopy(module)
    assert isinstance(twin, nn.Module)
    try:
        twin.double().merge()
    except (NotImplementedError, ValueError) as error:
        raise ConfigError(
            f"the adapter {type(module).__name__} cannot be merged into the weights, whose change is to be measured. "
            "Use LoRA, DoRA or FullTuning, or leave that measurement out."
        ) from error
    inner = twin.get_base_layer()
    assert isinstance(inner, nn.Module)
    return inner
