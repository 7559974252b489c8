"""The groups into which an edit divides all parameters that fine-tuning changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from peft import PeftModel
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.tensor import DTensor

from edit_lit.attribution.feeding import parameters_that_feed
from edit_lit.deltas import AdapterPart, Delta, WeightPart, adapter_parts
from edit_lit.language_model import LanguageModel
from edit_lit.utilities.errors import ConfigError


class Group(StrEnum):
    """Where a trained parameter stands to an edit.

    ``written``: the matrices that the Delta changed, with their biases. ``below``: what feeds these: lower blocks, and
    of the last edited block whatever the input of a written matrix hangs on. ``above``: all that reads them alone: the
    rest of that block, later blocks, the final norm. ``outside``: embeddings and head, which feed and read.
    """

    WRITTEN = "written"
    BELOW = "below"
    ABOVE = "above"
    OUTSIDE = "outside"


GROUPS = tuple(Group)


@dataclass(frozen=True)
class Piece:
    """The trained parameters of one group in one layer.

    Args:
        group: The group.
        layer: The number of the block; none outside the blocks.
        parameters: The parameters, an adapter's included.
    """

    group: Group
    layer: int | None
    parameters: frozenset[nn.Parameter]


@dataclass(frozen=True)
class WrittenMatrix:
    """A matrix that an edit changed.

    Args:
        layer: The number of its block.
        name: Name of its weight in the plain model.
        owner: The module that holds the weight.
        module: The module that is called: an adapter's around the owner, or the owner itself.
    """

    layer: int
    name: str
    owner: nn.Module
    module: nn.Module


def written_matrices(language_model: LanguageModel, delta: Delta) -> list[WrittenMatrix]:
    """The matrices that a Delta changed, lowest first.

    Raises:
        ConfigError: If the Delta does something else than to change matrices inside the blocks.
    """
    kinds = sorted({part.kind for part in delta.parts if not isinstance(part, WeightPart)})
    if kinds or not delta.updates:
        what = f"parts of the kind {', '.join(kinds)}" if kinds else "no update of a weight"
        raise ConfigError(f"the Delta has {what}, so there are no written matrices to tell from the rest.")
    worn = {wrapped: part.module for part in adapter_parts(language_model.model) for wrapped in part.wrapped()}
    found = []
    for name in delta.updates:
        weight = language_model.parameter(name)
        layers = [layer for layer, block in enumerate(language_model.blocks) if _holds(block, weight)]
        if weight is None or len(layers) != 1:
            raise ConfigError(f"the Delta changes {name}, which lies in no single block, so nothing is below or above.")
        owner = next(module for module in language_model.blocks[layers[0]].modules() if _owns(module, weight))
        found.append(WrittenMatrix(layers[0], name, owner, worn.get(weight, owner)))
    return sorted(found, key=lambda matrix: matrix.layer)


def trained_pieces(language_model: LanguageModel, delta: Delta) -> list[Piece]:
    """All parameters that train, each in exactly one piece; the groups in their order, the layers from below.

    Args:
        language_model: The model, edited, with its adapter if it wears one.
        delta: The edit.

    Raises:
        ConfigError: If the model is sharded, or a trained parameter belongs to no single group, as with prompt tuning.
    """
    _check_whole(language_model.model)
    matrices = written_matrices(language_model, delta)
    places = _Places(language_model, matrices)
    sorted_in: dict[tuple[Group, int | None], set[nn.Parameter]] = {}
    for name, parameter in language_model.model.named_parameters():
        if parameter.requires_grad:
            sorted_in.setdefault(places.of(name, parameter), set()).add(parameter)
    if not sorted_in:
        raise ConfigError("no parameter trains, so that nothing can have undone an edit.")
    order = sorted(sorted_in, key=lambda place: (GROUPS.index(place[0]), -1 if place[1] is None else place[1]))
    return [Piece(*place, frozenset(sorted_in[place])) for place in order]


class _Places:
    """Knows the group and layer of each trained parameter."""

    def __init__(self, language_model: LanguageModel, matrices: Sequence[WrittenMatrix]) -> None:
        model = language_model.model
        parts = adapter_parts(model)
        self._part: dict[nn.Parameter, list[AdapterPart]] = {}
        for part in parts:
            for parameter in part.parameters:
                self._part.setdefault(parameter, []).append(part)
        plain = model.get_base_model() if isinstance(model, PeftModel) else model
        self._plain = set(plain.parameters())
        self._layers: dict[nn.Parameter, list[int]] = {}
        for layer, block in enumerate(language_model.blocks):
            for parameter in block.parameters():
                self._layers.setdefault(parameter, []).append(layer)
        self._written = {parameter for matrix in matrices for parameter in matrix.owner.parameters(recurse=False)}
        self._written |= {own for part in parts if self._written & set(part.wrapped()) for own in part.parameters}
        ends = [language_model.head, *(module for module in plain.modules() if isinstance(module, nn.Embedding))]
        self._ends = {parameter for module in ends for parameter in module.parameters()} - self._layers.keys()
        self._ends |= {own for part in parts if self._ends & set(part.wrapped()) for own in part.parameters}
        self._last = max(matrix.layer for matrix in matrices)
        unsure = [
            p for p in model.parameters() if p.requires_grad and self._layers.get(p, [self._last])[0] == self._last
        ]
        readers = [matrix.module for matrix in matrices if matrix.layer == self._last]
        self._feeds = parameters_that_feed(language_model, readers, unsure)

    def of(self, name: str, parameter: nn.Parameter) -> tuple[Group, int | None]:
        """The group and layer of a trained parameter."""
        shared = len(self._part.get(parameter, ())) > 1 or len(self._layers.get(parameter, ())) > 1
        if shared or (parameter not in self._part and parameter not in self._plain):
            why = "several modules share it" if shared else "it belongs to no module of the model, as in prompt tuning"
            raise ConfigError(
                f"the cause of a loss cannot be told: {name} trains, and {why}. Tune the model's own weights, or an "
                "adapter with weights of its own on each module, such as LoRA."
            )
        layer = self._layers[parameter][0] if parameter in self._layers else None
        if parameter in self._written:
            return Group.WRITTEN, layer
        if parameter in self._ends:
            return Group.OUTSIDE, None
        lower = parameter in self._feeds if layer in (None, self._last) else layer < self._last
        return Group.BELOW if lower else Group.ABOVE, layer


def _holds(module: nn.Module, parameter: nn.Parameter | None) -> bool:
    return any(candidate is parameter for candidate in module.parameters())


def _owns(module: nn.Module, parameter: nn.Parameter | None) -> bool:
    return any(candidate is parameter for candidate in module.parameters(recurse=False))


def _check_whole(model: nn.Module) -> None:
    sharded = any(isinstance(parameter, DTensor) or hasattr(parameter, "ds_id") for parameter in model.parameters())
    if sharded or any(isinstance(module, FullyShardedDataParallel) for module in model.modules()):
        raise ConfigError(
            "the model is sharded, so that its weights cannot be swapped in place. Explain the run later from its "
            "checkpoint, on one device."
        )
