"""What guards share that keep what matrices answer to some inputs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from edit_lit.editors.closed_form.preconditioners import Preconditioner
from edit_lit.guards.guard import Guard
from edit_lit.guards.protected_write import ProtectedWrite
from edit_lit.language_model.module_tree import base_layer, projection_weight
from edit_lit.utilities.errors import ConfigError

_LEAVE_THE_BASE = (True, "gaussian", "eva", "mica")
"""LoRA's ways to begin that add nothing to the weights at first, and leave these as they are."""


class HeldWrites(Guard):
    """Keeps the answers of some projections, as :class:`~edit_lit.guards.protected_write.ProtectedWrite` does.

    A subclass fills `writes` in its ``setup``.

    Attributes:
        writes: What is kept, by a name of each projection.
    """

    def __init__(self) -> None:
        self.writes: dict[str, ProtectedWrite] = {}

    def before_step(self) -> None:
        """Take the part along the keys off the gradients."""
        for write in self.writes.values():
            write.project_gradient()

    def after_step(self) -> None:
        """Bring the answers to the keys back."""
        for write in self.writes.values():
            write.restore()

    def measures(self) -> Mapping[str, Tensor]:
        """By what share of their norm the answers moved in the last step, and are off behind it: means over matrices.

        Of an adapter it is its first matrix that moved along the keys, in shares of that matrix's norm.
        """
        writes = self.writes.values()
        moved, off = torch.stack([write.moved for write in writes]), torch.stack([write.off() for write in writes])
        return {"write_moved": moved.mean(), "write_off": off.mean()}


def protected(
    name: str,
    module: nn.Module,
    keys_KN: Tensor,
    energy: float,
    strength: float = 1.0,
    ordinary: Preconditioner | None = None,
) -> ProtectedWrite:
    """The answers of one projection, kept by its own weight, or by the adapter that it wears.

    Args:
        name: What an error calls the projection.
        module: The projection, perhaps inside an adapter of peft.
        keys_KN: The inputs whose answers are kept.
        energy: See :class:`~edit_lit.guards.protected_write.ProtectedWrite`, also for the others.
        strength: The share of the way that is gone back behind a step.
        ordinary: C⁻¹ of other inputs, if restoring shall disturb the answers to them least.

    Raises:
        ConfigError: If the adapter is none whose answers can be kept.
    """
    adapted = isinstance(module, BaseTunerLayer)
    matrix = _first_matrix(name, module) if adapted else module
    return ProtectedWrite(matrix, keys_KN, energy, silent=adapted, strength=strength, ordinary=ordinary)


def trains(module: nn.Module) -> bool:
    """Whether what a projection answers can change by itself: its weight trains, or an adapter that it wears."""
    if projection_weight(module).requires_grad:
        return True
    return isinstance(module, BaseTunerLayer) and any(parameter.requires_grad for parameter in module.parameters())


def _first_matrix(name: str, module: nn.Module) -> nn.Linear:
    """The matrix A of the adapter B A on a projection."""
    remedy = "Train with LoRA or FullTuning, or let the adapter leave it out (tuning.layers, tuning.modules)."
    if not isinstance(module, LoraLayer) or not isinstance(module.lora_A, nn.ModuleDict):
        kind = type(module).__name__
        raise ConfigError(f"{name} wears an adapter ({kind}) whose answers a guard cannot keep. {remedy}")
    if module.lora_magnitude_vector:
        raise ConfigError(f"{name} wears DoRA, which rescales the edited weight itself, so it cannot be kept. {remedy}")
    if module.lora_variant:
        variant = ", ".join(sorted({type(variant).__name__ for variant in module.lora_variant.values()}))
        raise ConfigError(f"{name} wears a variant of LoRA ({variant}) whose answers a guard cannot keep. {remedy}")
    biases = (getattr(part, "bias", None) for part in (base_layer(module), *module.lora_B.values()))
    if any(isinstance(bias, nn.Parameter) and bias.requires_grad for bias in biases):
        raise ConfigError(f"{name} wears LoRA with a bias that trains, which moves what it answers. {remedy}")
    found = list(module.lora_A.values())
    if len(found) != 1 or not isinstance(found[0], nn.Linear):
        raise ConfigError(f"{name} wears {len(found)} adapters, but a guard keeps one. {remedy}")
    return found[0]


def check_beginning(model: nn.Module) -> None:
    """Refuse a LoRA whose way to begin moves the edited weight itself, as PiSSA's does.

    Raises:
        ConfigError: Naming the option.
    """
    for config in getattr(model, "peft_config", {}).values():
        beginning = getattr(config, "init_lora_weights", True)
        if beginning not in _LEAVE_THE_BASE:
            raise ConfigError(
                f"tuning.config.init_lora_weights is {beginning!r}, which may move the edited weights when it begins, "
                f"so that a guard could not keep them. Use one of {', '.join(map(str, _LEAVE_THE_BASE))}."
            )
