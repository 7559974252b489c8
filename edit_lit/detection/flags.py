"""Which facts look edited by a model's behaviour, at a threshold that facts known to be unedited set.

The unedited facts are dealt out by subject into three parts: one says what is usual, one sets the threshold, and one,
which neither has seen, says how often an unedited fact is flagged all the same.

Shape legend: F facts, C calibrating facts.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from edit_lit.detection.conformal import auc, hypergeometric_p, needed, p_value, threshold
from edit_lit.detection.prompts import Behavior
from edit_lit.facts.request import EditRequest, normalized_name
from edit_lit.measures.scores import wilson_interval
from edit_lit.utilities.errors import ConfigError

PARTS = 3
_LEAST_ENTROPY = 1e-9
"""Nats; below it logits in float32 are rounding."""


@dataclass(frozen=True)
class Usual:
    """What is usual for unedited facts: mean and standard deviation of the logarithm of the mixture's entropy.

    Args:
        mean: The mean.
        spread: The standard deviation.
    """

    mean: float
    spread: float

    @classmethod
    def of(cls, behavior: Behavior) -> Usual:
        """What is usual for some facts."""
        values = _log_entropy(behavior)
        spread = float(values.std(unbiased=False))
        return cls(float(values.mean()), spread if spread > 0 else 1.0)

    def score(self, behavior: Behavior) -> Tensor:
        """How unusual each fact is, in standard deviations either way, [F]."""
        return (_log_entropy(behavior) - self.mean).abs() / self.spread

    def bounds(self, score: float) -> tuple[float, float]:
        """The entropies in nats at which the score is reached."""
        return math.exp(self.mean - score * self.spread), math.exp(self.mean + score * self.spread)


@dataclass(frozen=True)
class Judged:
    """Facts and whether they look edited.

    Args:
        requests: The facts.
        behavior: What the model does at their prompts.
        score_F: How unusual that is.
        p: Conformal p value of each.
        flagged: Whether each looks edited.
    """

    requests: tuple[EditRequest, ...]
    behavior: Behavior
    score_F: Tensor
    p: tuple[float, ...]
    flagged: tuple[bool, ...]

    @property
    def count(self) -> int:
        """How many look edited."""
        return sum(self.flagged)

    @property
    def share(self) -> float:
        """Which share of them does."""
        return self.count / len(self.flagged)

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval (Wilson)."""
        return wilson_interval(self.count, len(self.flagged))


@dataclass(frozen=True)
class PromptsFinding:
    """What was found at the prompts of facts.

    Args:
        alarm_rate: The wanted rate of false alarms.
        usual: What is usual.
        threshold: The score above which a fact looks edited.
        calibrating: How many unedited facts set the threshold.
        held_out: The unedited facts that did not.
        questioned: The questioned facts, if there are any.
        edited: Facts known to be edited, if there are any.
    """

    alarm_rate: float
    usual: Usual
    threshold: float
    calibrating: int
    held_out: Judged
    questioned: Judged | None
    edited: Judged | None

    @property
    def p(self) -> float | None:
        """The probability of so many flags among the questioned facts, or more, if they are as the held-out ones."""
        if self.questioned is None:
            return None
        asked, others = self.questioned, self.held_out
        return hypergeometric_p(asked.count, len(asked.flagged), others.count, len(others.flagged))

    @property
    def auc(self) -> float | None:
        """The probability that a fact known to be edited is more unusual than a held-out one."""
        return None if self.edited is None else auc(self.edited.score_F, self.held_out.score_F)


def parts_by_subject(requests: Sequence[EditRequest], seed: int) -> list[list[int]]:
    """Deal facts out into three parts of about as many subjects; all facts of a subject go together.

    Args:
        requests: The facts.
        seed: Seed of the dealing.

    Returns:
        Positions of the facts of each part.
    """
    names = sorted({normalized_name(request.subject) for request in requests})
    random.Random(seed).shuffle(names)
    part_of = {name: place % PARTS for place, name in enumerate(names)}
    parts: list[list[int]] = [[] for _ in range(PARTS)]
    for place, request in enumerate(requests):
        parts[part_of[normalized_name(request.subject)]].append(place)
    return parts


def check_enough(requests: Sequence[EditRequest], seed: int, alarm_rate: float) -> None:
    """Refuse too few unedited facts for a rate of false alarms.

    Raises:
        ConfigError: Saying how many there are, and how many are needed.
    """
    least = max(2, needed(alarm_rate))
    smallest = min(map(len, parts_by_subject(requests, seed)))
    if smallest < least:
        raise ConfigError(
            f"reference gives {len(requests)} unedited facts, dealt out by subject into three parts, of which the "
            f"smallest has {smallest}; an alarm_rate of {alarm_rate:g} takes {least} in each. Name about "
            f"{PARTS * least} facts about different subjects, or a higher alarm_rate."
        )


def judge(
    reference: tuple[Sequence[EditRequest], Behavior],
    questioned: tuple[Sequence[EditRequest], Behavior] | None,
    edited: tuple[Sequence[EditRequest], Behavior] | None,
    alarm_rate: float,
    seed: int,
) -> PromptsFinding:
    """Say which facts look edited.

    Args:
        reference: Facts that are known not to be edited, and the model's behaviour at their prompts.
        questioned: Facts that may be.
        edited: Facts that are known to be.
        alarm_rate: The wanted rate of false alarms.
        seed: Seed of the dealing into parts.

    Raises:
        ConfigError: If there are too few unedited facts.
    """
    requests, behavior = reference
    check_enough(requests, seed, alarm_rate)
    usual_part, calibrating_part, held_out_part = parts_by_subject(requests, seed)
    usual = Usual.of(behavior[usual_part])
    calibrating_C = usual.score(behavior[calibrating_part])
    limit = threshold(calibrating_C, alarm_rate)
    held_out = [requests[place] for place in held_out_part], behavior[held_out_part]
    judged = [None if group is None else _judged(*group, usual, calibrating_C, limit) for group in (questioned, edited)]
    return PromptsFinding(
        alarm_rate, usual, limit, len(calibrating_C), _judged(*held_out, usual, calibrating_C, limit), *judged
    )


def _judged(
    requests: Sequence[EditRequest], behavior: Behavior, usual: Usual, calibrating_C: Tensor, limit: float
) -> Judged:
    score_F = usual.score(behavior)
    p = tuple(p_value(score, calibrating_C) for score in score_F.tolist())
    return Judged(tuple(requests), behavior, score_F, p, tuple((score_F > limit).tolist()))


def _log_entropy(behavior: Behavior) -> Tensor:
    return behavior.mixture_entropy_F.clamp(min=_LEAST_ENTROPY).log()
