"""The effect of each axis: paired differences between its labels, averaged over all other axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edit_lit.analysis.bootstrap import Estimate, estimate
from edit_lit.analysis.quantities import Quantity
from edit_lit.analysis.study import Study
from edit_lit.analysis.sweep import Labels


@dataclass(frozen=True)
class Effect:
    """One label of an axis against the axis's first, in one quantity.

    Args:
        axis: The axis.
        label: The label.
        first: The label that it is compared with.
        quantity: The quantity.
        estimate: The mean over replicates; each is the mean over the cells that have both labels in it.
        pairs: Pairs of runs behind it.
        cells: Combinations of the other axes' labels that have a pair.
        complete: Whether every one of these has a pair in every replicate.
    """

    axis: str
    label: str
    first: str
    quantity: Quantity
    estimate: Estimate
    pairs: int
    cells: int
    complete: bool


def effects(study: Study, axis: str, quantity: Quantity) -> list[Effect]:
    """The main effects of an axis: each label against the axis's first one that has a finished trial.

    Two runs are a pair if they differ in this axis alone; a run without a partner is left out, so that no other axis
    is mixed in. The unit is the replicate: differences are averaged over cells within it, and intervals are over
    replicates.
    """
    means = {
        (arm, replicate): sample.mean
        for arm in study.arms
        for replicate, sample in study.samples(arm, quantity).items()
    }
    present = [label for label in study.sweep.axes[axis] if any(dict(arm)[axis] == label for arm, _ in means)]
    return [_effect(axis, label, present[0], quantity, means) for label in present[1:]]


def _effect(axis: str, label: str, first: str, quantity: Quantity, means: dict[tuple[Labels, Labels], float]) -> Effect:
    by_replicate: dict[Labels, dict[Labels, float]] = {}
    for (arm, replicate), value in means.items():
        partner = tuple((name, first if name == axis else own) for name, own in arm)
        if dict(arm)[axis] == label and (partner, replicate) in means:
            cell = tuple(item for item in arm if item[0] != axis)
            by_replicate.setdefault(replicate, {})[cell] = value - means[partner, replicate]
    cells = {cell for of_replicate in by_replicate.values() for cell in of_replicate}
    pairs = sum(map(len, by_replicate.values()))
    runs = [np.array([np.mean(list(of_replicate.values()))]) for of_replicate in by_replicate.values()]
    complete = pairs == len(cells) * len(by_replicate)
    return Effect(axis, label, first, quantity, estimate(runs), pairs, len(cells), complete)
