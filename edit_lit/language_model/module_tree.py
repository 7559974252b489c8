"""Finds transformer blocks, attention modules and projection matrices in a model's module tree."""

from __future__ import annotations

import re
from collections.abc import Iterator

from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from edit_lit.utilities.errors import ConfigError

_WRAPPER = re.compile(r"\.(base_layer|original_module)(?=\.)")
"""What peft puts into the names of what it wraps."""


def find_blocks(model: PreTrainedModel, path: str | None) -> nn.ModuleList:
    """The list of transformer blocks.

    Args:
        model: The model.
        path: Where the list is; found by its length and size if not given.

    Raises:
        ConfigError: If there is no such list; the message says how to name it.
    """
    remedy = "Name their list with language_model.parts.blocks, for instance 'model.layers'."
    if path is not None:
        try:
            named = model.get_submodule(path)
        except AttributeError as error:
            raise ConfigError(f"parts.blocks is {path!r}, but {error}. {remedy}") from error
        if not isinstance(named, nn.ModuleList):
            raise ConfigError(f"parts.blocks is {path!r}, a {type(named).__name__}, not a list of blocks. {remedy}")
        return named
    depth = model.config.get_text_config().num_hidden_layers
    lists = [
        module
        for module in model.modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth and any(True for _ in module.parameters())
    ]
    if not lists:
        raise ConfigError(f"no list of {depth} transformer blocks in {type(model).__name__}. {remedy}")
    # The blocks hold nearly all weights; a list inside one block cannot hold more than the blocks do.
    return max(lists, key=lambda module: sum(parameter.numel() for parameter in module.parameters()))


def attention_modules(block: nn.Module) -> list[nn.Module]:
    """The modules inside a block's attention, which every family of transformers names so in its class."""
    inner = (module for module in block.modules() if module is not block)
    roots = (module for module in inner if "attention" in type(module).__name__.lower())
    # What an adapter wraps is left out: the adapter is listed itself.
    return [part for root in roots for name, part in root.named_modules() if not name.endswith("base_layer")]


def is_projection(module: nn.Module) -> bool:
    """Whether a module is one matrix product: a Linear, GPT-2's Conv1D, or an adapter around one."""
    return isinstance(base_layer(module), (nn.Linear, Conv1D))


def base_layer(module: nn.Module) -> nn.Module:
    """The module itself, or what an adapter wraps."""
    inner = getattr(module, "base_layer", module)
    assert isinstance(inner, nn.Module)
    return inner


def plain_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """All parameters by the names that they have in the plain model, without the adapters around them."""
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    for name, parameter in inner.named_parameters():
        yield _WRAPPER.sub("", name), parameter


def projection_weight(module: nn.Module) -> nn.Parameter:
    """The weight of a projection."""
    weight = base_layer(module).weight
    assert isinstance(weight, nn.Parameter)
    return weight


def as_linear(module: nn.Module, weight: Tensor) -> Tensor:
    """A view of a projection's weight, or of what has its shape, as outputs × inputs, whichever way it is stored."""
    return weight.T if isinstance(base_layer(module), Conv1D) else weight


def projection_shape(module: nn.Module) -> tuple[int, int]:
    """Outputs and inputs of a projection, whichever way its weight is stored."""
    first, second = projection_weight(module).shape
    return (second, first) if isinstance(base_layer(module), Conv1D) else (first, second)
