"""Spectral: the largest singular triples of matrices are dropped, by which a rank-one edit stands out.

Shape legend: O outputs and N inputs of a matrix, R singular values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edit_lit.erasers.eraser import Eraser
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.module_tree import projection_weight
from edit_lit.surgery.written import check_bare
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError

TIE = 1e-6
"""Singular values nearer to each other than this, in relation, are one: which triple goes would hang on rounding."""


@dataclass(frozen=True)
class Spectrum:
    """How far the largest singular values of a layer's matrix stand out.

    Args:
        last: The smallest singular value that is dropped, s_k.
        rest: The largest that stays, s_(k+1).
        neighbors: s_k / s_(k+1) of the same matrix in the nearest layers that are not named, below and above.
    """

    last: float
    rest: float
    neighbors: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """s_k / s_(k+1); infinite if nothing but zeros is left."""
        return _quotient(self.last, self.rest)


class Spectral(Eraser):
    """Drops the largest singular triples of MLP output projections (Youssef et al., arXiv 2505.20819).

    W = Σ s_i u_i v_iᵀ becomes Σ_(i>k) s_i u_i v_iᵀ. It needs weights alone: neither the edit nor its facts. It rests on
    a rank-one edit, such as ROME's, being the largest triple of the matrix that it was written into. Edits of many
    facts at once are not of rank one, and need not stand out at all; what is dropped then is the base model's own. So
    s_k / s_(k+1) is compared with the nearest layers that are not named.

    Args:
        layers: The layers whose MLP output projection loses its largest triples.
        triples: k, how many each loses.
        least: Refuse layers in which s_k / s_(k+1) is not at least so many times that of the nearest layers that are
            not named; 0 drops the triples whatever they are.
    """

    def __init__(self, layers: Sequence[int], triples: int = 1, least: float = 1.5) -> None:
        if not layers:
            raise ConfigError("eraser.layers names no layer. Name those whose matrices were edited.")
        check_number("eraser.triples", triples, least=1)
        check_number("eraser.least", least, least=0)
        self.layers = sorted(set(layers))
        self.triples = triples
        self.least = least
        self._found: dict[int, Spectrum] = {}

    def changes(self, language_model: LanguageModel) -> list[str]:
        """The weights of the named layers' MLP output projections."""
        return [language_model.parameter_name(weight) for weight in self._weights(language_model).values()]

    def spectra(self, language_model: LanguageModel) -> dict[int, Spectrum]:
        """How far the triples of each named layer stand out; nothing is changed.

        Raises:
            ConfigError: If the model lacks a layer, or a matrix has no more than ``triples`` singular values.
        """
        found = {}
        for layer, weight in self._weights(language_model).items():
            values_R = torch.linalg.svdvals(weight.detach().double())
            near = [_ratio(language_model, other, self.triples) for other in self._nearest(language_model, layer)]
            found[layer] = Spectrum(float(values_R[self.triples - 1]), float(values_R[self.triples]), tuple(near))
        return found

    @torch.no_grad()
    def erase(self, language_model: LanguageModel) -> None:
        """Drop the triples.

        Raises:
            ConfigError: If the model lacks a layer, an adapter is on a matrix, or triples do not stand out.
        """
        weights = self._weights(language_model)
        check_bare(language_model, weights.values(), "Spectral")
        found = self.spectra(language_model)
        for layer, spectrum in found.items():
            self._check(layer, spectrum)
        for weight in weights.values():
            left, values_R, right = torch.linalg.svd(weight.double(), full_matrices=False)
            top = slice(self.triples)
            weight.copy_(weight.double() - (left[:, top] * values_R[top]) @ right[top])
        self._found = found

    def describe(self) -> str:
        """By how much the dropped triples stood out."""
        parts = [
            f"layer {layer}: s_{self.triples} {spectrum.last:.3g}, s_{self.triples + 1} {spectrum.rest:.3g}, ratio "
            f"{_beside(spectrum)}"
            for layer, spectrum in self._found.items()
        ]
        return f"Spectral dropped {self.triples} singular triples of each matrix ({'; '.join(parts)})"

    def _weights(self, language_model: LanguageModel) -> dict[int, nn.Parameter]:
        language_model.check_layers(self.layers, "eraser.layers")
        weights = {layer: projection_weight(language_model.output_projection(layer)) for layer in self.layers}
        for layer, weight in weights.items():
            if self.triples >= min(weight.shape):
                raise ConfigError(
                    f"eraser.triples is {self.triples}, but the matrix of layer {layer} has {min(weight.shape)} "
                    "singular values. Lower it."
                )
        return weights

    def _nearest(self, language_model: LanguageModel, layer: int) -> list[int]:
        others = [other for other in range(len(language_model.blocks)) if other not in self.layers]
        below, above = [other for other in others if other < layer], [other for other in others if other > layer]
        return [*below[-1:], *above[:1]]

    def _check(self, layer: int, spectrum: Spectrum) -> None:
        k = self.triples
        if spectrum.ratio - 1 < TIE:
            raise ConfigError(
                f"eraser.triples is {k}, but in layer {layer} the singular values {k} and {k + 1} are the same, so "
                "that either could be dropped. Name another number."
            )
        if self.least and not spectrum.neighbors:
            raise ConfigError(
                f"eraser.layers names all {len(self.layers)} layers, so that there is none to compare with. Name those "
                "that were edited, or set eraser.least to 0."
            )
        if any(spectrum.ratio < self.least * other for other in spectrum.neighbors):
            raise ConfigError(
                f"the {k} largest singular values of layer {layer} do not stand out: s_{k} / s_{k + 1} is "
                f"{_beside(spectrum)}, and eraser.least asks for {self.least:g} times as much. What would be dropped "
                "is the model's own. Use Unwrite, or set eraser.least to 0 to drop them all the same."
            )


def _beside(spectrum: Spectrum) -> str:
    near = " and ".join(f"{other:.3g}" for other in spectrum.neighbors)
    return f"{spectrum.ratio:.3g}, in the nearest other layers {near}" if near else f"{spectrum.ratio:.3g}"


def _ratio(language_model: LanguageModel, layer: int, place: int) -> float:
    """s_k / s_(k+1) of a layer's matrix."""
    weight: Tensor = projection_weight(language_model.output_projection(layer)).detach().double()
    values_R = torch.linalg.svdvals(weight)
    return _quotient(float(values_R[place - 1]), float(values_R[place]))


def _quotient(last: float, rest: float) -> float:
    if rest == 0:
        return math.inf if last > 0 else 1.0
    return last / rest
