"""Whether a model's matrices stand out as edited ones do, by its weights alone or by what differs from its release.

An editor writes a few directions, and large ones, into the MLP output projections of a few layers. Two numbers of a
matrix see that, whatever its scale: its largest singular value over the median one, which a single write raises, and
the share of its squared norm in a tenth of its directions, which many writes raise. Of W − W_release they are that
share, too, and the relative norm over that of the other layers, so that the amount of training does not count.

By how much they rise without any edit only unedited models can tell: beside these each number is held against the
median of the other models at the same layer, and the largest of all excesses is tested. Without them nothing is called
edited.

Shape legend: L layers, R singular values, M models: the questioned one and the unedited ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from edit_lit.detection.conformal import excess, excess_within, needed, p_value
from edit_lit.detection.matrices import Difference
from edit_lit.detection.spectra import Spectrum
from edit_lit.measures.scores import wilson_interval

_LEAST_CHANGE = 1e-12


class Verdict(StrEnum):
    """What the weights say."""

    EDITED = "looks edited"
    LIKE_UNEDITED = "looks like the unedited models"
    TOO_FEW = "cannot be told by so few unedited models"
    NOT_CALIBRATED = "not calibrated"
    UNCHANGED = "does not differ from the release"


@dataclass(frozen=True)
class Calibration:
    """A model beside unedited ones.

    Args:
        excess_L: By what factor each layer stands out, the larger of both numbers, from the median of the other models.
        p: Share of all models whose largest excess is at least as large, the model itself among them.
        alarms: How many of the unedited ones there are among these.
        names: Names of the unedited ones.
    """

    excess_L: tuple[float, ...]
    p: float
    alarms: int
    names: tuple[str, ...]

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval (Wilson) of the share of unedited models that would be called edited with this one."""
        return wilson_interval(self.alarms, len(self.names))


@dataclass(frozen=True)
class WeightsFinding:
    """What was found in a model's matrices.

    Args:
        spectra: Of each layer's matrix, or of its difference from the release's.
        within_L: By what factor each layer stands out from the median of the model's other layers; NaN in a model of
            one layer.
        alarm_rate: The wanted rate of false alarms.
        calibration: The model beside unedited ones, if any were given.
        difference: What differs from the release, if one was given.
    """

    spectra: tuple[Spectrum, ...]
    within_L: tuple[float, ...]
    alarm_rate: float
    calibration: Calibration | None
    difference: Difference | None

    @property
    def verdict(self) -> Verdict:
        """What the weights say at the wanted rate of false alarms."""
        if self.difference is not None and not any(self.difference.relative):
            return Verdict.UNCHANGED
        if self.calibration is None:
            return Verdict.NOT_CALIBRATED
        if self.calibration.p <= self.alarm_rate:
            return Verdict.EDITED
        short = len(self.calibration.names) < needed(self.alarm_rate) and not self.calibration.alarms
        return Verdict.TOO_FEW if short else Verdict.LIKE_UNEDITED

    @property
    def factors(self) -> tuple[float, ...]:
        """By what factor each layer stands out: from unedited models if there are any, else from the other layers."""
        return self.within_L if self.calibration is None else self.calibration.excess_L

    @property
    def most(self) -> int:
        """The layer that stands out most."""
        known = [layer for layer, factor in enumerate(self.factors) if not math.isnan(factor)]
        return max(known, key=lambda layer: self.factors[layer], default=0)

    @property
    def changed(self) -> tuple[int, ...]:
        """Layers whose matrix differs from the release's."""
        relative = () if self.difference is None else self.difference.relative
        return tuple(layer for layer, value in enumerate(relative) if value)


def find(
    spectra: Sequence[Spectrum],
    unedited: Mapping[str, Sequence[Spectrum]],
    alarm_rate: float,
) -> WeightsFinding:
    """Look at a model's matrices.

    Args:
        spectra: Their spectra.
        unedited: Those of unedited models of the same architecture, by name.
        alarm_rate: The wanted rate of false alarms.
    """
    profiles = [_profile(each) for each in (spectra, *unedited.values())]
    within = torch.stack([excess_within(numbers) for numbers in profiles[0]])
    return WeightsFinding(tuple(spectra), _factors(within), alarm_rate, _calibrated(profiles, tuple(unedited)), None)


def find_difference(found: Difference, unedited: Mapping[str, Difference], alarm_rate: float) -> WeightsFinding:
    """Look at what differs from a release.

    Args:
        found: What does.
        unedited: What does in models that were made from the same release without an edit, by name.
        alarm_rate: The wanted rate of false alarms.
    """
    profiles = [_profile_of_difference(each) for each in (found, *unedited.values())]
    size, share = profiles[0]
    within = torch.stack([size, excess_within(share)])
    return WeightsFinding(found.spectra, _factors(within), alarm_rate, _calibrated(profiles, tuple(unedited)), found)


def tenth(spectrum: Spectrum) -> int:
    """A tenth of a matrix's directions, rounded up."""
    return math.ceil(len(spectrum.values_R) / 10)


def _calibrated(profiles: Sequence[Tensor], names: tuple[str, ...]) -> Calibration | None:
    if not names:
        return None
    above_M2L = excess(torch.stack(list(profiles)).flatten(1)).unflatten(1, profiles[0].shape)
    largest_M = above_M2L.flatten(1).amax(1)
    own, others = float(largest_M[0]), largest_M[1:]
    return Calibration(_factors(above_M2L[0]), p_value(own, others), int((others >= own).sum()), names)


def _factors(above_2L: Tensor) -> tuple[float, ...]:
    """By what factor each layer stands out by the number by which it does more."""
    return tuple(above_2L.amax(0).exp().tolist())


def _profile(spectra: Sequence[Spectrum]) -> Tensor:
    """Logarithms of both numbers of each matrix, [2, L]."""
    leading = [_logarithm(each.leading) for each in spectra]
    share = [_logarithm(each.share(tenth(each))) for each in spectra]
    return torch.tensor([leading, share], dtype=torch.float64)


def _profile_of_difference(found: Difference) -> Tensor:
    """Logarithms of both numbers of each difference, [2, L]; what has not changed stands out by neither."""
    size = torch.tensor([math.log(max(value, _LEAST_CHANGE)) for value in found.relative], dtype=torch.float64)
    share = [math.log(each.share(tenth(each))) if each.norm else _flat(each) for each in found.spectra]
    amount = size if len(size) < 2 else excess_within(size)
    return torch.stack([amount, torch.tensor(share, dtype=torch.float64)])


def _flat(spectrum: Spectrum) -> float:
    """The logarithm of the share that a tenth of the directions has where all are alike."""
    return math.log(tenth(spectrum) / len(spectrum.values_R))


def _logarithm(value: float) -> float:
    """A finite logarithm also of a matrix of low rank, and 0 for none at all."""
    return 0.0 if math.isnan(value) else math.log(min(value, 1 / _LEAST_CHANGE))
