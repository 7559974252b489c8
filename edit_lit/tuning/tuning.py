"""The contract of fine-tuning strategies, and full fine-tuning of selected layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from edit_lit.language_model import LanguageModel
from edit_lit.tuning.selection import LayerChoice, LayerSelection, ModuleChoice


class Tuning(ABC):
    """Decides which parameters fine-tuning changes.

    Args:
        layers: The layers that train; see :class:`LayerSelection`.
        modules: The modules that train within them; see :class:`LayerSelection`.
    """

    def __init__(self, layers: LayerChoice | list[int] = "all", modules: ModuleChoice | list[str] = "all") -> None:
        self.layers = layers
        self.modules = modules
        self.selection = LayerSelection(layers, modules)

    def check(self, language_model: LanguageModel, edited_layers: Sequence[int] | None) -> None:  # noqa: B027 - optional
        """Refuse what :meth:`apply` would refuse, and change nothing; called before the edit, which may take long.

        Args:
            language_model: The model that will be tuned.
            edited_layers: The layers that the edit changes; what hangs on them is not looked at if not given.

        Raises:
            ConfigError: If nothing would train.
        """

    @abstractmethod
    def apply(self, language_model: LanguageModel, edited_layers: Sequence[int]) -> None:
        """Freeze what does not train, or add what does; called once, before a strategy wraps the model.

        Raises:
            ConfigError: If nothing would train.
        """


class FullTuning(Tuning):
    """Trains the selected modules' own weights.

    Args:
        layers: The layers that train; see :class:`LayerSelection`.
        modules: The modules that train within them; see :class:`LayerSelection`.
    """

    def check(self, language_model: LanguageModel, edited_layers: Sequence[int] | None) -> None:
        """Refuse a selection of nothing."""
        if edited_layers is not None or not self.selection.hangs_on_edit:
            self.selection.select(language_model, edited_layers or ())

    def apply(self, language_model: LanguageModel, edited_layers: Sequence[int]) -> None:
        """Freeze everything else."""
        selected = self.selection.select(language_model, edited_layers)
        language_model.model.requires_grad_(False)
        for module in selected.values():
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(True)


def describe_trainable(language_model: LanguageModel) -> str:
    """One line: how many parameters train, of how many, and in which layers."""
    parameters = dict(language_model.model.named_parameters())
    trainable = {id(parameter): parameter for parameter in parameters.values() if parameter.requires_grad}
    count = sum(parameter.numel() for parameter in trainable.values())
    total = sum(parameter.numel() for parameter in parameters.values())
    layers, inside = [], set()
    for number, block in enumerate(language_model.blocks):
        here = {id(parameter) for parameter in block.parameters()} & trainable.keys()
        inside |= here
        if here:
            layers.append(number)
    outside = " and outside them" if trainable.keys() - inside else ""
    return (
        f"trainable: {count:,} of {total:,} parameters ({count / total:.2%}), "
        f"in layers {layers} of {len(language_model.blocks)}{outside}"
    )


def half_precision_trainable(language_model: LanguageModel) -> bool:
    """Whether a trainable weight is kept in 16 bits, where small updates round to nothing."""
    half = (torch.float16, torch.bfloat16)
    return any(parameter.requires_grad and parameter.dtype in half for parameter in language_model.model.parameters())
