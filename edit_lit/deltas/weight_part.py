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
from edit_lit.utilities.finite import is_finite


class WeightPart(Part):
    """Updates that are added to a model's weights.

    Args:
        updates: The update of each parameter, by the parameter's name in the plain Hugging Face model, as it is
            without adapters.
        made_for: Type and checksum of the weights that the updates were computed for, by name, as :meth:`remember`
            takes them down; a weight that is not named may be any.
    """

    kind: ClassVar[str] = "weight"

    def __init__(self, updates: Mapping[str, Update], made_for: Mapping[str, str] | None = None) -> None:
        self.updates = dict(updates)
        self.made_for = dict(made_for or {})
        self._originals: dict[str, Tensor] = {}
        self._checksums: dict[str, int] = {}

    def check(self, language_model: LanguageModel) -> None:
        """Refuse a model that lacks a parameter or has it in another shape."""
        for name in self.updates:
            self._parameter(language_model, name)

    def remember(self, language_model: LanguageModel) -> None:
        """Take down type and checksum of each weight as it is now."""
        self.made_for = {name: _described(self._parameter(language_model, name)) for name in self.updates}

    def check_remembered(self, language_model: LanguageModel) -> None:
        """Refuse weights of another type or other values than the updates were computed for."""
        for name, expected in self.made_for.items():
            found = _described(self._parameter(language_model, name))
            (kind, _), (expected_kind, _) = found.split(), expected.split()
            if kind != expected_kind:
                raise ConfigError(
                    f"{name} is {kind}, but the edit was made for it in {expected_kind}. Load the model with dtype "
                    f"{expected_kind}, or pass other_weights=True to apply it all the same."
                )
            if found != expected:
                raise ConfigError(
                    f"{name} is not the weight that the edit was made for: this is another model, or it has been "
                    "fine-tuned or edited before, perhaps by this very edit. Edit this model anew, merge Deltas of one "
                    "unedited model, or pass other_weights=True to apply it all the same."
                )

    def attach(self, language_model: LanguageModel) -> None:
        """Add the updates; the weights as they were are kept on the CPU.

        Sums are formed in float64 and rounded once to the weights' type, in which a small update by itself would be
        lost.

        Raises:
            ConfigError: If a sum is NaN or infinite; no weight is changed then.
        """
        try:
            for name, update in self.updates.items():
                self._add(self._parameter(language_model, name), name, update)
        except BaseException:
            self.detach(language_model)
            raise

    @torch.no_grad()
    def _add(self, parameter: nn.Parameter, name: str, update: Update) -> None:
        self._originals[name] = on_cpu(parameter)
        parameter.copy_(parameter.double() + update.dense().to(parameter.device))
        if not is_finite(parameter):
            broken = not is_finite(self._originals[name])
            raise ConfigError(
                f"{name} holds NaN or infinity {'before the edit' if broken else 'once the edit is added'}. "
                f"{'Load a whole model.' if broken else f'{_dtype(parameter)} is too narrow: use bfloat16 or float32.'}"
            )
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

    def fields(self) -> Mapping[str, Any]:
        """What the updates were made for."""
        return {"made_for": self.made_for}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> WeightPart:
        """The part of stored factors and matrices."""
        grouped: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            name, factor = key.rsplit("|", 1)
            grouped.setdefault(name, {})[factor] = tensor
        return cls({name: update_of(factors) for name, factors in grouped.items()}, fields["made_for"])

    def merged(self, other: Part) -> Part | None:
        """The sums of both parts' updates.

        Raises:
            ConfigError: If they were made for different values of one weight.
        """
        if not isinstance(other, WeightPart):
            return None
        odd = [name for name in self.made_for.keys() & other.made_for if self.made_for[name] != other.made_for[name]]
        if odd:
            raise ConfigError(f"the two Deltas were made for different {min(odd)}. Merge Deltas of one unedited model.")
        updates = dict(self.updates)
        for name, update in other.updates.items():
            updates[name] = added(updates[name], update) if name in updates else update
        return WeightPart(updates, self.made_for | other.made_for)

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


def _described(parameter: nn.Parameter) -> str:
    """Type and checksum of a weight, such as ``float32 09f3c2d81e5b7a46``."""
    return f"{_dtype(parameter)} {tensor_checksum(parameter):016x}"


def _dtype(parameter: nn.Parameter) -> str:
    return str(parameter.dtype).removeprefix("torch.")
