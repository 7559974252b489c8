"""Held writes that go after the keys of their prompts, which training moves.

Shape legend: K keys, N inputs and O outputs of a matrix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from edit_lit.activations.token_rows import SubjectRow
from edit_lit.guards.key_values import answers_to, keys_upwards
from edit_lit.guards.protected_write import ProtectedWrite
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import evaluating
from edit_lit.utilities.errors import ConfigError


class FollowedKeys:
    """Has matrices answer to prompts' keys, as they have become, what they answered to them at first.

    Args:
        language_model: The model.
        rows: Each prompt as a row of its own.

    Attributes:
        off: By what share of their norm the values were off when the keys were last read, the mean over layers; NaN
            before that.
    """

    def __init__(self, language_model: LanguageModel, rows: Sequence[Sequence[SubjectRow]]) -> None:
        self.language_model = language_model
        self.rows = rows
        self.off = torch.tensor(math.nan, dtype=torch.float64)
        self._writes: dict[int, ProtectedWrite] = {}
        self._values: dict[int, Tensor] = {}

    @property
    def moved(self) -> bool:
        """Whether keys have been read again."""
        return not bool(self.off.isnan())

    def add(self, layer: int, write: ProtectedWrite, keys_KN: Tensor) -> None:
        """Take down what a layer's matrix answers now.

        Args:
            layer: The layer.
            write: What is held of it.
            keys_KN: The prompts' keys there, [K, N].

        Raises:
            ConfigError: If an adapter is on the matrix: held to answer nothing, it can give no value to another key.
        """
        module = self.language_model.output_projection(layer)
        if isinstance(module, BaseTunerLayer):
            raise ConfigError(
                f"guards.use.refresh is given, but layer {layer} wears an adapter. Its edited matrix stands still, and "
                "cannot give a key of today what it gave the first one. Leave refresh out, or train with FullTuning."
            )
        self._writes[layer], self._values[layer] = write, answers_to(module, keys_KN)

    def catch_up(self) -> None:
        """Read the keys through the model as it is, from the lowest layer up, and hold the values there."""
        language_model = self.language_model
        off = []
        with evaluating(language_model.model), torch.autocast(language_model.device.type, enabled=False):
            for layer, keys_KN in keys_upwards(language_model, self.rows, list(self._writes)):
                wanted_KO = self._values[layer]
                short_KO = wanted_KO - answers_to(language_model.output_projection(layer), keys_KN)
                self._writes[layer].follow(keys_KN, short_KO)
                off.append((short_KO.norm() / wanted_KO.norm()).cpu())
        self.off = torch.stack(off).mean()
