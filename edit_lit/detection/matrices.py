"""The matrices into which editors write, and what of a model differs from its release.

Shape legend: d outputs, n inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from edit_lit.detection.spectra import Spectrum
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.module_tree import as_linear, plain_parameters, projection_weight
from edit_lit.tuning.merging import merged_copy, wrapped_by_adapters
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.finite import check_finite
from edit_lit.utilities.progress import progress

_TYPES = (torch.bfloat16, torch.float16, torch.float32)


@dataclass(frozen=True)
class Difference:
    """What became of a release's matrices.

    Args:
        spectra: Of W − W_release of each layer; what is no more than rounding counts as nothing.
        relative: Its Frobenius norm over that of W_release, of each layer.
        elsewhere: Names of other parameters that differ, or that an adapter is around.
        parameters: How many parameters there are, these matrices included.
    """

    spectra: tuple[Spectrum, ...]
    relative: tuple[float, ...]
    elsewhere: tuple[str, ...]
    parameters: int


def output_matrix(language_model: LanguageModel, layer: int) -> Tensor:
    """The MLP output projection of a layer with adapters merged into it, [d, n], float64.

    Args:
        language_model: The model.
        layer: The layer's number.

    Raises:
        ConfigError: If the layer has no such matrix, it holds NaN or infinity, or its adapter cannot be merged.
    """
    module = language_model.output_projection(layer)
    if isinstance(module, BaseTunerLayer):
        module = merged_copy(module)
    weight = projection_weight(module).detach()
    check_finite(weight, f"the MLP output projection of layer {layer}", "Load a whole model.")
    return as_linear(module, weight).double()


def check_matrices(language_model: LanguageModel) -> None:
    """Refuse a model in which a block has no single MLP output projection.

    Raises:
        ConfigError: Naming the block and the remedy.
    """
    for layer in range(len(language_model.blocks)):
        language_model.output_projection(layer)


def spectra(language_model: LanguageModel, title: str) -> list[Spectrum]:
    """The spectrum of each layer's MLP output projection.

    Args:
        language_model: The model.
        title: What the progress is shown under.
    """
    layers = range(len(language_model.blocks))
    return [Spectrum.of(output_matrix(language_model, layer)) for layer in progress(layers, title, "layers")]


def difference(language_model: LanguageModel, release: LanguageModel, title: str) -> Difference:
    """What of a model differs from its release.

    Args:
        language_model: The model.
        release: The unedited model, of the same architecture.
        title: What the progress is shown under.
    """
    found, relative = [], []
    for layer in progress(range(len(language_model.blocks)), title, "layers"):
        ours, theirs = output_matrix(language_model, layer), output_matrix(release, layer).to(language_model.device)
        spectrum = Spectrum.of(ours - theirs).above(rounding_edge(ours) + rounding_edge(theirs))
        found.append(spectrum)
        norm = float(theirs.norm())
        relative.append(spectrum.norm / norm if norm else 0.0)
    elsewhere, parameters = _changed_elsewhere(language_model, release)
    return Difference(tuple(found), tuple(relative), tuple(elsewhere), parameters)


def rounding_edge(matrix_dn: Tensor) -> float:
    """The largest singular value that the rounding of a stored matrix can be expected to have.

    The error of an entry is uniform within u times its size at most, with u of the coarsest type that holds all entries
    exactly; the edge is that of a random matrix with entries of that size, (√d + √n) times their standard deviation.

    Args:
        matrix_dn: The matrix.
    """
    outputs, inputs = matrix_dn.shape
    exact = (kind for kind in _TYPES if torch.equal(matrix_dn.to(kind).double(), matrix_dn.double()))
    unit = torch.finfo(next(exact, torch.float64)).eps / 2
    return unit * float(matrix_dn.double().norm()) * (outputs**-0.5 + inputs**-0.5)


def check_same_architecture(language_model: LanguageModel, other: LanguageModel, option: str, name: str) -> None:
    """Refuse a model whose blocks are not made alike.

    Args:
        language_model: The model.
        other: The other one.
        option: The option that named it.
        name: What that said.

    Raises:
        ConfigError: Naming the first parameter that is there in one only or differs in shape.
    """
    theirs = {name: tuple(parameter.shape) for name, parameter in plain_parameters(other.model)}
    ours = {name: tuple(parameter.shape) for name, parameter in plain_parameters(language_model.model)}
    inside = _names_in_blocks(other)
    for parameter, shape in theirs.items():
        if parameter in inside and ours.get(parameter) != shape:
            here = f"is {ours[parameter]}" if parameter in ours else "is not there"
            raise ConfigError(
                f"{option} {name} is of another architecture: {parameter} is {shape} there and {here} in the model. "
                "Name a model that was made from the same one."
            )
    if len(other.blocks) != len(language_model.blocks):
        raise ConfigError(
            f"{option} {name} has {len(other.blocks)} layers, the model has {len(language_model.blocks)}. Name a model "
            "that was made from the same one."
        )


def _names_in_blocks(language_model: LanguageModel) -> set[str]:
    inside = {id(parameter) for block in language_model.blocks for parameter in block.parameters()}
    return {name for name, parameter in plain_parameters(language_model.model) if id(parameter) in inside}


def _changed_elsewhere(language_model: LanguageModel, release: LanguageModel) -> tuple[list[str], int]:
    """Names of parameters outside the matrices that differ, and the number of all parameters."""
    projections = [release.output_projection(layer) for layer in range(len(release.blocks))]
    matrices = {id(projection_weight(module)) for module in projections}
    wrapped = {id(parameter) for parameter in wrapped_by_adapters(language_model.model)}
    ours = dict(plain_parameters(language_model.model))
    changed, count = [], 0
    for name, theirs in plain_parameters(release.model):
        count += 1
        mine = ours.get(name)
        if id(theirs) not in matrices and (mine is None or id(mine) in wrapped or _differ(mine, theirs)):
            changed.append(name)
    return changed, count


def _differ(mine: Tensor, theirs: Tensor) -> bool:
    if mine.shape != theirs.shape:
        return True
    return not torch.equal(mine.detach().double(), theirs.detach().double().to(mine.device))
