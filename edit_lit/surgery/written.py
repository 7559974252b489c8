"""Which matrices of an edit may be acted on, and what is refused of them."""

from __future__ import annotations

from collections.abc import Iterable

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from edit_lit.deltas import Delta, WeightPart
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.module_tree import base_layer, projection_weight
from edit_lit.utilities.errors import ConfigError


def check_of_weights(delta: Delta, actor: str) -> None:
    """Refuse a Delta that is not in force, or that does not change weights alone.

    Args:
        delta: The edit.
        actor: What the message calls who would act on it.

    Raises:
        ConfigError: If it is one.
    """
    if not delta.applied:
        raise ConfigError(f"{actor} was given a Delta that is not applied: the model is not edited. Apply it first.")
    if not all(isinstance(part, WeightPart) for part in delta.parts):
        raise ConfigError(
            f"{actor} acts on edits of weights, but this edit adds modules. Make the edit with an editor of weights."
        )


def written_layers(language_model: LanguageModel, delta: Delta, actor: str, remedy: str) -> list[int]:
    """The edited layers, lowest first, of an edit that changes MLP output projections alone.

    Args:
        language_model: The model.
        delta: The edit.
        actor: What the message calls who would act on it.
        remedy: What to do about an edit of other weights.

    Raises:
        ConfigError: If it changes anything else, or is not applied.
    """
    check_of_weights(delta, actor)
    names = {
        language_model.parameter_name(projection_weight(language_model.output_projection(layer)))
        for layer in delta.layers
    }
    others = sorted(delta.updates.keys() - names)
    if others:
        raise ConfigError(
            f"{actor} acts on what MLP output projections write, but the edit changes {others[0]}, too. {remedy}"
        )
    return sorted(delta.layers)


def check_bare(language_model: LanguageModel, parameters: Iterable[nn.Parameter], actor: str) -> None:
    """Refuse parameters of the model that an adapter is on: they are not what the model multiplies by.

    Raises:
        ConfigError: Naming one.
    """
    covered = {
        parameter: type(module).__name__
        for module in language_model.model.modules()
        if isinstance(module, BaseTunerLayer)
        for parameter in base_layer(module).parameters()
    }
    worn = next((parameter for parameter in parameters if parameter in covered), None)
    if worn is not None:
        raise ConfigError(
            f"{actor} changes {language_model.parameter_name(worn)}, but an adapter ({covered[worn]}) is on it, so "
            "that it is not what the model multiplies by. Merge it first: language_model.model = "
            "language_model.model.merge_and_unload()"
        )


def named(language_model: LanguageModel, name: str) -> nn.Parameter:
    """A parameter of the plain model.

    Raises:
        ConfigError: If there is none of that name.
    """
    parameter = language_model.parameter(name)
    if parameter is None:
        raise ConfigError(f"the model has no parameter {name}: it is not the one that was edited. Load that one.")
    return parameter
