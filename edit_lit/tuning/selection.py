"""Which layers, and which modules within them, fine-tuning may change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from torch import nn

from edit_lit.language_model import LanguageModel
from edit_lit.language_model.module_tree import attention_modules
from edit_lit.utilities.errors import ConfigError

LayerChoice = Literal["all", "edited", "unedited", "through_edited", "before_edited", "after_edited"]
ModuleChoice = Literal["all", "attention", "mlp"]


@dataclass(frozen=True)
class LayerSelection:
    """The layers that train, named outright or by where the edit is.

    Args:
        layers: ``all``; ``edited`` or ``unedited`` layers; ``through_edited`` (up to and with the last edited one);
            ``before_edited`` (below the first edited one); ``after_edited`` (above the last one); or layer numbers.
        modules: Within these layers: ``all``, ``attention``, ``mlp``, or patterns such as ``*.down_proj``, matched
            against full module names. A pattern may also name what lies outside the layers, such as ``lm_head``;
            otherwise embeddings, final norm and head train only if layers and modules are both ``all``.

    Examples:
        >>> from edit_lit.world import WorldModel
        >>> language_model = WorldModel()  # of six layers
        >>> LayerSelection("before_edited").numbers(language_model, edited=[2, 3])
        [0, 1]
        >>> list(LayerSelection([5], ["*.down_proj"]).select(language_model, edited=[2, 3]))
        ['model.layers.5.mlp.down_proj']
    """

    layers: LayerChoice | list[int] = "all"
    modules: ModuleChoice | list[str] = "all"

    @property
    def hangs_on_edit(self) -> bool:
        """Whether the choice is made by where the edit is."""
        return isinstance(self.layers, str) and self.layers != "all"

    def numbers(self, language_model: LanguageModel, edited: Sequence[int]) -> list[int]:
        """The selected layers' numbers.

        Raises:
            ConfigError: If the choice needs an edit and there is none, or names a layer that does not exist.
        """
        everything = range(len(language_model.blocks))
        if not isinstance(self.layers, str):
            language_model.check_layers(self.layers, "tuning.layers")
            return sorted(set(self.layers))
        if self.layers == "all":
            return list(everything)
        if not edited:
            raise ConfigError(
                f"tuning.layers is {self.layers!r}, but this run edits nothing and names no editor. For a control, "
                "name the editor in edit.editor and set edit.apply to false; or give the layers as numbers."
            )
        first, last = min(edited), max(edited)
        ranges = {
            "edited": [layer for layer in everything if layer in edited],
            "unedited": [layer for layer in everything if layer not in edited],
            "through_edited": list(range(last + 1)),
            "before_edited": list(range(first)),
            "after_edited": list(range(last + 1, len(everything))),
        }
        return ranges[self.layers]

    def select(self, language_model: LanguageModel, edited: Sequence[int]) -> dict[str, nn.Module]:
        """The modules that train, by full name; each stands for its own parameters, not for those of its children.

        Raises:
            ConfigError: If nothing is selected.
        """
        numbers = self.numbers(language_model, edited)
        layer_of = {id(module): layer for layer in numbers for module in language_model.blocks[layer].modules()}
        in_blocks = {id(module) for block in language_model.blocks for module in block.modules()}
        attention = {id(module) for block in language_model.blocks for module in attention_modules(block)}
        selected = {}
        for name, module in language_model.model.named_modules():
            if not any(True for _ in module.parameters(recurse=False)):
                continue
            inside = id(module) in layer_of
            if not inside and id(module) in in_blocks:
                continue
            if self._chooses(name, inside, id(module) in attention):
                selected[name] = module
        if not selected:
            raise ConfigError(
                f"tuning.layers {self.layers!r} with tuning.modules {self.modules!r} selects nothing to train: "
                f"layers {numbers or 'none'} of {len(language_model.blocks)}"
                + (f", edited {sorted(edited)}" if edited else "")
                + ". Choose other layers or wider patterns."
            )
        return selected

    def _chooses(self, name: str, inside: bool, in_attention: bool) -> bool:
        if not isinstance(self.modules, str):
            return any(fnmatchcase(name, pattern) for pattern in self.modules)
        if self.modules == "all":
            return inside or self.layers == "all"
        return inside and in_attention == (self.modules == "attention") and "norm" not in name.rsplit(".", 1)[-1]
