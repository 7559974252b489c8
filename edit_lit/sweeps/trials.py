"""The trials of a sweep: every combination of choices that is not left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from edit_lit.sweeps.axes import Part
from edit_lit.sweeps.sweep_file import SweepFile, covers
from edit_lit.utilities.errors import ConfigError


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Args:
        labels: Its label on each axis.
        parts: The configs and options that make it; later ones override earlier ones.
    """

    labels: Mapping[str, str]
    parts: Sequence[Part]

    def __str__(self) -> str:
        return ", ".join(f"{axis} {label}" for axis, label in self.labels.items())


@dataclass(frozen=True)
class Expansion:
    """All trials of a sweep.

    Args:
        trials: Those that run, in the order of the file, the last axis fastest.
        left_out: How many each exclusion leaves out, by its reason.
    """

    trials: Sequence[Trial]
    left_out: Mapping[str, int]


def expand(sweep: SweepFile) -> Expansion:
    """The trials of a sweep.

    Raises:
        ConfigError: If an exclusion leaves out none, or all are left out.
    """
    trials = []
    left_out = {exclusion.because: 0 for exclusion in sweep.exclusions}
    for places in product(*(range(len(block[0].choices)) for block in sweep.blocks)):
        chosen = {
            axis.name: axis.choices[place] for block, place in zip(sweep.blocks, places, strict=True) for axis in block
        }
        labels = {name: choice.label for name, choice in chosen.items()}
        reason = next((one.because for one in sweep.exclusions if covers(one.where, labels)), None)
        if reason is not None:
            left_out[reason] += 1
            continue
        chosen_parts = [part for choice in chosen.values() for part in choice.parts]
        adjusted = [part for one in sweep.adjustments if covers(one.where, labels) for part in one.parts]
        trials.append(Trial(labels, [*sweep.base, *chosen_parts, *adjusted]))
    for reason, count in left_out.items():
        if not count:
            raise ConfigError(f"no trial is left out because {reason!r}. Correct that exclusion, or remove it.")
    if not trials:
        raise ConfigError("all trials are excluded. Leave out an exclusion.")
    return Expansion(trials, left_out)
