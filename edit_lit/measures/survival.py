"""Survival of facts through a run, and the area below it: one number a run that uses all of its probes.

A fact that was right at the first probe is lost at some time between the last probe at which it was right and the
first at which it was not. Where all facts share the probes' steps, the share that has not been lost yet is the
Kaplan-Meier estimate, censoring included. Lines are drawn between probes (the trapezoid rule), which puts a loss in
the middle of the interval in which it happened.

Legend: T probes, F facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Right = NDArray[np.bool_]
Places = NDArray[np.int64]


class Loss(StrEnum):
    """When a fact counts as alive at a probe.

    ``first``: it has been right at every probe so far. ``confirmed``: it has not yet failed at two probes in a row; a
    failure at the last probe counts, as nothing can confirm or deny it. ``current``: it is right now, whatever it was
    before, so that a fact that came back is alive again: the area is that below the retention curve.
    """

    FIRST = "first"
    CONFIRMED = "confirmed"
    CURRENT = "current"


def alive(right_TF: Right, loss: Loss = Loss.FIRST) -> Right:
    """Whether each fact is alive at each probe, [T, F].

    Args:
        right_TF: Whether each fact is right at each probe.
        loss: When a fact is lost.
    """
    if loss is Loss.CURRENT:
        return right_TF
    fails_TF = ~right_TF
    if loss is Loss.CONFIRMED:
        next_TF = np.concatenate([fails_TF[1:], np.ones_like(fails_TF[:1])])
        fails_TF = fails_TF & next_TF
    return ~np.logical_or.accumulate(fails_TF, axis=0)


def restricted_mean(
    steps: NDArray[np.int64], right_TF: Right, horizon: int | None = None, loss: Loss = Loss.FIRST
) -> Values:
    """How much of the time up to a horizon each fact was alive, between 0 and 1, [F].

    The mean over facts is the restricted mean survival divided by the horizon: the area below the survival curve.

    Args:
        steps: The probes' steps in ascending order, [T]; the first is the baseline.
        right_TF: Whether each fact is right at each probe; facts that are wrong at the first one have no survival.
        horizon: The last step that counts, at least the second probe's if there is one; the last probe's if not given.
        loss: When a fact is lost.
    """
    end = float(steps[-1] if horizon is None else horizon)
    start = float(steps[0])
    if end <= start:
        return alive(right_TF, loss)[0].astype(np.float64)
    kept = steps < end
    values_TF = alive(right_TF, loss).astype(np.float64)
    at_end_F = _between(steps, values_TF, end)
    grid = np.append(steps[kept], end)
    curve_TF = np.concatenate([values_TF[kept], at_end_F[None]])
    area_F: Values = np.trapezoid(curve_TF, grid, axis=0)
    return area_F / (end - start)


@dataclass(frozen=True)
class Incidence:
    """What became of facts that are lost in one of several ways. K kinds of loss.

    Args:
        survival_T: The share that has not been lost yet, at each probe (Kaplan-Meier).
        by_kind_KT: The share that was lost in each way so far (Aalen-Johansen). With the survival they sum to 1.
    """

    survival_T: Values
    by_kind_KT: Values


def cumulative_incidence(place_F: Places, kind_F: Places, probes: int, kinds: int) -> Incidence:
    """The cumulative incidence of each kind of first loss on a grid of probes.

    S(j) = ∏ (1 − dᵢ/nᵢ) and Fₖ(j) = Σ S(i−1) dₖᵢ/nᵢ over the probes i ≤ j, with dₖᵢ losses of kind k at probe i among
    nᵢ facts that were seen until then: Aalen and Johansen, Scandinavian Journal of Statistics 5 (1978).

    Args:
        place_F: The place of the probe at which each fact was lost or, if it was not, was seen last, [F].
        kind_F: How it was lost, from 0 on; −1 if it was not, [F].
        probes: How many probes there are, T.
        kinds: How many ways there are, K.
    """
    losses_KT = np.stack([np.bincount(place_F[kind_F == kind], minlength=probes) for kind in range(kinds)])
    at_risk_T = len(place_F) - np.concatenate([[0], np.bincount(place_F, minlength=probes).cumsum()[:-1]])
    hazard_KT = losses_KT / np.maximum(at_risk_T, 1)
    survival_T = np.cumprod(1 - hazard_KT.sum(axis=0))
    before_T = np.concatenate([[1.0], survival_T[:-1]])
    return Incidence(survival_T, (before_T * hazard_KT).cumsum(axis=1))


def _between(steps: NDArray[np.int64], values_TF: Values, step: float) -> Values:
    """Values on the line between the probes around a step, [F]; those of the last probe behind it."""
    after = int(np.searchsorted(steps, step))
    if after >= len(steps):
        return values_TF[-1]
    if steps[after] == step:
        return values_TF[after]
    share = (step - steps[after - 1]) / (steps[after] - steps[after - 1])
    return (1 - share) * values_TF[after - 1] + share * values_TF[after]
