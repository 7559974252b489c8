"""Arms trained equally well: of each, the label of one axis whose downstream loss is nearest to the reference arm's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edit_lit.analysis.quantities import LOSS
from edit_lit.analysis.study import Study
from edit_lit.analysis.sweep import Labels
from edit_lit.utilities.errors import ConfigError

NEAR = 0.05
"""A match is none if the losses differ by more than this share of the reference's."""


@dataclass(frozen=True)
class Match:
    """The arm that stands for all that differ from it in the matched axis alone.

    Args:
        arm: The arm.
        label: Its label on that axis.
        others: The labels that were passed over.
        loss: Its mean final downstream loss.
        reference_loss: The reference arm's.
    """

    arm: Labels
    label: str
    others: tuple[str, ...]
    loss: float
    reference_loss: float

    @property
    def away(self) -> float:
        """How far its loss is from the reference's, in nats."""
        return self.loss - self.reference_loss

    @property
    def is_near(self) -> bool:
        """Whether it may be compared."""
        return abs(self.away) <= NEAR * abs(self.reference_loss)

    @property
    def flaw(self) -> str:
        """Why it must not be compared; nothing if it may."""
        if math.isnan(self.loss):
            return f"no {LOSS.title} to match by"
        return "" if self.is_near else f"no {LOSS.title} within {NEAR:.0%}, nearest {self.away:+.3f}"


def match_by_loss(study: Study, axis: str, reference: Labels) -> list[Match]:
    """One arm for each combination of the other axes' labels; the reference arm stands for its own.

    Args:
        study: The sweep's results.
        axis: The axis along which arms are matched, such as that of the learning rate.
        reference: The reference arm.

    Raises:
        ConfigError: If arms do not differ in the axis, or the reference arm has no downstream loss.
    """
    study.sweep.check_axis("--match", axis)
    losses = {arm: study.estimate(arm, LOSS).mean for arm in study.arms}
    if math.isnan(losses[reference]):
        raise ConfigError(
            f"--match {axis}: the trials of the arm {study.sweep.arm_name(reference)} logged no downstream/val_loss to "
            "match by. Leave --match out, or validate the downstream task in the sweep."
        )
    groups: dict[Labels, list[Labels]] = {}
    for arm in study.arms:
        groups.setdefault(tuple(item for item in arm if item[0] != axis), []).append(arm)
    return [_nearest(arms, axis, losses, reference) for arms in groups.values()]


def _nearest(arms: Sequence[Labels], axis: str, losses: dict[Labels, float], reference: Labels) -> Match:
    target = losses[reference]
    known = [arm for arm in arms if not math.isnan(losses[arm])] or arms
    chosen = reference if reference in known else min(known, key=lambda arm: abs(losses[arm] - target))
    others = tuple(dict(arm)[axis] for arm in arms if arm != chosen)
    return Match(chosen, dict(chosen)[axis], others, losses[chosen], target)
