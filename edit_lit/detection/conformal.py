"""Thresholds and p values from what was never edited: conformal tests, which need no model of the scores.

Where the questioned one is exchangeable with the unedited ones, as it is if it was not edited and comes from where they
come from, a p value is at most α with probability α or less, whatever the scores (Vovk, Gammerman and Shafer 2005,
*Algorithmic Learning in a Random World*, section 2.2).

Shape legend: N unedited ones, L layers or other places, C calibrating scores.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_CLOSE = 1e-9


def needed(alarm_rate: float) -> int:
    """How many unedited ones the smallest p value takes to reach an alarm rate.

    Examples:
        >>> needed(0.05), needed(0.1)
        (19, 9)
    """
    return math.ceil(1 / alarm_rate - 1 - _CLOSE)


def threshold(calibrating_C: Tensor, alarm_rate: float) -> float:
    """The score that an unedited one exceeds with at most the alarm rate, on average over calibrations.

    Args:
        calibrating_C: Scores of unedited ones, at least ``needed(alarm_rate)``.
        alarm_rate: The wanted rate.

    Examples:
        >>> threshold(torch.arange(1.0, 20.0), 0.05), threshold(torch.arange(1.0, 20.0), 0.1)
        (19.0, 18.0)
    """
    count = len(calibrating_C)
    above = math.floor((count + 1) * alarm_rate + _CLOSE)
    return float(calibrating_C.double().sort(descending=True).values[above - 1])


def p_value(score: float, calibrating_C: Tensor) -> float:
    """The share of scores that are at least as large, the questioned one among them.

    Args:
        score: The questioned score.
        calibrating_C: Scores of unedited ones.

    Examples:
        >>> p_value(3.0, torch.tensor([1.0, 2.0, 3.0, 4.0]))
        0.6
    """
    return (1 + int((calibrating_C.double() >= score).sum())) / (len(calibrating_C) + 1)


def excess(profiles_ML: Tensor) -> Tensor:
    """How far each model lies above the median of the others, place by place, [M, L].

    It treats all models alike, so that their largest excesses are exchangeable where the models are.

    Args:
        profiles_ML: A number for each place of each model, at least two models.

    Examples:
        >>> excess(torch.tensor([[1.0, 5.0], [1.0, 2.0], [3.0, 2.0]])).tolist()
        [[-1.0, 3.0], [-1.0, -1.5], [2.0, -1.5]]
    """
    count = len(profiles_ML)
    others = torch.stack([profiles_ML[torch.arange(count) != number] for number in range(count)])
    return profiles_ML - others.double().quantile(0.5, dim=1)


def excess_within(profile_L: Tensor) -> Tensor:
    """How far each layer lies above the median of the other layers, [L]; nothing to compare with gives NaN."""
    if len(profile_L) < 2:
        return torch.full_like(profile_L, math.nan)
    return excess(profile_L[:, None])[:, 0]


def hypergeometric_p(flagged: int, of: int, other_flagged: int, of_others: int) -> float:
    """The probability of so many flags in the first group, or more, if both groups are alike (Fisher's exact test).

    Args:
        flagged: Flags in the first group.
        of: Its size.
        other_flagged: Flags in the second group.
        of_others: Its size.

    Examples:
        >>> round(hypergeometric_p(3, 4, 1, 4), 4)  # the lady tasting tea
        0.2429
    """
    total = flagged + other_flagged
    ways = sum(
        math.comb(of, number) * math.comb(of_others, total - number) for number in range(flagged, min(of, total) + 1)
    )
    return ways / math.comb(of + of_others, total)


def auc(higher_A: Tensor, lower_B: Tensor) -> float:
    """The probability that a score of the first kind is above one of the second, ties counted half.

    Args:
        higher_A: Scores of the kind that should be higher.
        lower_B: Scores of the other kind.

    Examples:
        >>> auc(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 2.0]))
        0.875
    """
    ordered = lower_B.double().sort().values
    below = torch.searchsorted(ordered, higher_A.double(), right=False)
    upto = torch.searchsorted(ordered, higher_A.double(), right=True)
    return float((below + upto).double().mean()) / (2 * len(ordered))
