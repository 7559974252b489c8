"""The layers of an edit: those that an option names, or the method's default for the model's depth."""

from __future__ import annotations

from collections.abc import Callable

from edit_lit.language_model import LanguageModel
from edit_lit.utilities.errors import ConfigError


def check_given_layers(layers: list[int] | None) -> None:
    """Refuse a list of layers that is empty or out of order.

    Args:
        layers: The option ``layers``; nothing to check if not given.

    Raises:
        ConfigError: Naming the list and what it should be.
    """
    if layers is not None and (not layers or layers != sorted(set(layers))):
        raise ConfigError(f"layers is {layers}; name at least one layer, each once, in ascending order.")


def layers_of(
    language_model: LanguageModel, layers: list[int] | None, default: Callable[[int], list[int]]
) -> list[int]:
    """The given layers, or the default ones for this model's depth.

    Args:
        language_model: The model.
        layers: The option ``layers``.
        default: The default layers for a number of blocks.

    Raises:
        ConfigError: If the model does not have one of them.
    """
    chosen = layers if layers is not None else default(len(language_model.blocks))
    language_model.check_layers(chosen, "layers")
    return chosen
