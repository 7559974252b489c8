"""Changes of existing weights: the kind of part that ROME, MEMIT and all editors of weights make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from edit_lit.deltas.part import Part
from edit_lit.deltas.swap import on_cpu, swapped
from edit_lit.deltas.updates import Update, added, update_of
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.fingerprint import tensor_checksum
from edit_lit.utilities.errors import ConfigError


class WeightPart(Part):
    """Updates that are added to a model's weights.

    Args:
        updates: The update of each parameter, by the parameter's name in the plain Hugging Face model, as it is
            without adapters.
    """

    kind: ClassVar[str] = "weight"

    def __init__(self, updates: Mapping[str, Update]) -> None:
        self.updates = dict(updates)
        self._originals: dict[str, Tensor] = {}
        self._checksums: dict[str, int] = {}

    def check(self, language_model: LanguageModel) -> None:
        """Refuse a model that lacks a parameter or has it in another shape."""
        for name in self.updates:
            self._parameter(language_model, name)

    @torch.no_grad()
    def attach(self, language_model: LanguageModel) -> None:
        """Add the updates; the weights as they were are kept on the CPU.

        Sums are formed in float64 and rounded once to the weights' type, in which a small update by itself would be
        lost.
        """
        for name, update in self.updates.items():
            parameter = self._parameter(language_model, name)
            self._originals[name] = on_cpu(parameter)
            parameter.copy_(parameter.double() + update.dense().to(parameter.device))
            self._checksums[name] = tensor_checksum(parameter)

    def check_unchanged(self, language_model: LanguageModel) -> None:
        """Refuse weights that something else has changed since: reverting would undo that as well."""
        for name, checksum in self._checksums.items():
            if tensor_checksum(self._parameter(language_model, name)) != checksum:
                raise ConfigError(
                    f"{name} has changed since the Delta was applied: it was fine-tuned, or a later Delta changed it. "
                    "Reverting would throw that away. Revert later Deltas first, or use ModelStates.unedited() to see "
                    "the unedited model."
                )

    @torch.no_grad()
    def detach(self, language_model: LanguageModel) -> None:
        """Put the weights back as they were."""
        for name, original in self._originals.items():
            self._parameter(language_model, name).copy_(original)
        self._originals, self._checksums = {}, {}

    @contextmanager
    def suspended(self, language_model: LanguageModel) -> Iterator[None]:
        """The weights as they were before the edit, for the length of a ``with`` block."""
        originals = {self._parameter(language_model, name): value for name, value in self._originals.items()}
        with swapped(originals):
            yield

    def tensors(self) -> Mapping[str, Tensor]:
        """The updates' factors and matrices."""
        return {
            f"{name}|{factor}": tensor
            for name, update in self.updates.items()
            for factor, tensor in update.tensors().items()
        }

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> WeightPart:
        """The part of stored factors and matrices."""
        grouped: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            name, factor = key.rsplit("|", 1)
            grouped.setdefault(name, {})[factor] = tensor
        return cls({name: update_of(factors) for name, factors in grouped.items()})

    def merged(self, other: Part) -> Part | None:
        """The sums of both parts' updates."""
        if not isinstance(other, WeightPart):
            return None
        updates = dict(self.updates)
        for name, update in other.updates.items():
            updates[name] = added(updates[name], update) if name in updates else update
        return WeightPart(updates)

    def original_norm(self, language_model: LanguageModel, name: str) -> float:
        """Frobenius norm of an unedited weight."""
        original = self._originals.get(name)
        weight = self._parameter(language_model, name).detach() if original is None else original
        return float(weight.double().norm())

    def _parameter(self, language_model: LanguageModel, name: str) -> nn.Parameter:
        parameter = language_model.parameter(name)
        if parameter is None:
            raise ConfigError(
                f"the model has no parameter {name}; this Delta was made for another one. Edit this model anew."
            )
        shape = self.updates[name].shape
        if tuple(parameter.shape) != shape:
            raise ConfigError(
                f"{name} is {tuple(parameter.shape)}, the Delta's update {shape}: made for another model. "
                "Edit this model anew."
            )
        return parameter
