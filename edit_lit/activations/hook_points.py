"""Hook points: the modules whose output is read as the value and moved while a target value is sought."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from edit_lit.language_model import LanguageModel


class HookPoint(ABC):
    """A module whose output at the subject's last token is the value, and others that are moved beside it."""

    @abstractmethod
    def modules(self, language_model: LanguageModel, layer: int) -> list[nn.Module]:
        """The modules whose outputs are moved, each by a vector of its own; the first one's is the value."""

    def known_below(self, layer: int) -> int:
        """The last layer whose output does not depend on the vectors."""
        return layer - 1


class BlockOutput(HookPoint):
    """The block's output, as in MEMIT."""

    def modules(self, language_model: LanguageModel, layer: int) -> list[nn.Module]:
        """The block."""
        return [language_model.blocks[layer]]

    def known_below(self, layer: int) -> int:
        """The block itself: the vector is added behind it."""
        return layer


class MLPOutput(HookPoint):
    """The output of the MLP's output projection, as in ROME."""

    def modules(self, language_model: LanguageModel, layer: int) -> list[nn.Module]:
        """The projection."""
        return [language_model.output_projection(layer)]


class MLPAndAttention(HookPoint):
    """The outputs of MLP and attention, moved together as in PMET; the MLP's is the value."""

    def modules(self, language_model: LanguageModel, layer: int) -> list[nn.Module]:
        """The two output projections."""
        return [language_model.output_projection(layer), language_model.attention_projection(layer)]
