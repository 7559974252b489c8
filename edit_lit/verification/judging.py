"""Whether a group of answers keeps to a bound, with the interval of its share.

The unit is the fact: a fact with three paraphrases counts as one, with the mean of the three.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from edit_lit.analysis.bootstrap import RESAMPLES, percentile_interval, resampled_means
from edit_lit.measures.outcomes import Outcomes
from edit_lit.measures.request_means import request_means
from edit_lit.measures.scores import Rule, applies, success, wilson_interval
from edit_lit.verification.demand import Bound, Group

Values = NDArray[np.float64]
Question = tuple[str, str, int]
"""A question of a fact by content: the fact's name, the kind of prompt and its number."""


class Standing(StrEnum):
    """What became of a demand."""

    HOLDS = "holds"
    SHORT = "falls short"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class Shares:
    """The success of each fact of a group, or why it is not known.

    Args:
        value_F: Mean success over each fact's questions, between 0 and 1.
        place_F: The place of each of these facts among all of the group.
        note: What a reader must know of them.
        flaw: Why they are not known; nothing if they are.
    """

    value_F: Values = field(default_factory=lambda: np.empty(0))
    place_F: Sequence[int] = ()
    note: str = ""
    flaw: str = ""


@dataclass(frozen=True)
class Judged:
    """A demand and what became of it.

    Args:
        group: Which questions it is about.
        measure: The rule, or ``retention``.
        bound: The bound.
        standing: Whether it holds.
        share: The share over facts; NaN if it is not known.
        low: Lower end of its 95 % interval over facts.
        high: Upper end.
        facts: How many facts it is a share of.
        note: What a reader must know, or why it was not judged.
        failing: Places of the facts that speak against it, among all of the group.
    """

    group: Group
    measure: str
    bound: Bound
    standing: Standing
    share: float = math.nan
    low: float = math.nan
    high: float = math.nan
    facts: int = 0
    note: str = ""
    failing: Sequence[int] = ()


def judge(group: Group, measure: str, bound: Bound, shares: Shares, by_interval: bool) -> Judged:
    """Hold a group's success against a bound.

    Args:
        group: Which questions it is about.
        measure: The rule, or ``retention``.
        bound: The bound.
        shares: The facts' success.
        by_interval: Whether the bound must hold for that end of the interval which is worse, and not for the share.
    """
    if shares.flaw:
        return Judged(group, measure, bound, Standing.NOT_JUDGED, note=shares.flaw)
    share = float(shares.value_F.mean())
    low, high = interval(shares.value_F)
    decides = (low if bound.is_least else high) if by_interval else share
    against = shares.value_F < 1 if bound.is_least else shares.value_F > 0
    return Judged(
        group,
        measure,
        bound,
        Standing.HOLDS if bound.holds(decides) else Standing.SHORT,
        share,
        low,
        high,
        len(shares.value_F),
        shares.note,
        [place for place, is_against in zip(shares.place_F, against.tolist(), strict=True) if is_against],
    )


def interval(value_F: Values) -> tuple[float, float]:
    """The 95 % interval of a mean over facts: Wilson's where each is 0 or 1, else that of a bootstrap over facts."""
    if np.isin(value_F, (0.0, 1.0)).all():
        return wilson_interval(int(value_F.sum()), len(value_F))
    return percentile_interval(resampled_means(value_F, RESAMPLES, np.random.default_rng(0)))


def shares_by_rule(outcomes: Outcomes, rule: Rule) -> Shares:
    """The success of each fact by a rule.

    Args:
        outcomes: The group's answers.
        rule: The rule.
    """
    if not len(outcomes):
        return Shares(flaw="none of the facts has such a question")
    asked = outcomes[applies(outcomes, rule)]
    if not len(asked):
        return Shares(flaw=f"the rule {rule} judges none of the questions: it needs an alternative to the answer")
    broken = int(asked.not_a_number().sum())
    if broken:
        return Shares(flaw=f"{broken} of {len(asked)} answers are not numbers")
    who, means = request_means(success(asked, rule), asked.request)
    left_out = len(outcomes) - len(asked)
    note = f"{left_out} questions without an alternative are left out" if left_out else ""
    return Shares(means.double().numpy(), who.tolist(), note)


def shares_kept(outcomes: Outcomes, questions: Sequence[Question], baseline: Mapping[Question, float]) -> Shares:
    """Of each fact the share of those questions that the baseline answered right, by ``exact``, and that still are.

    Args:
        outcomes: The group's answers now.
        questions: The same questions by content, in the same order.
        baseline: Success of the baseline's questions.
    """
    if not len(outcomes):
        return Shares(flaw="none of the facts has such a question")
    then = [baseline.get(question) for question in questions]
    known = sum(value is not None for value in then)
    if not known:
        return Shares(flaw="the baseline was asked none of these questions")
    unknown = sum(value is not None and math.isnan(value) for value in then)
    now = success(outcomes, Rule.EXACT).tolist()
    right = [place for place, value in enumerate(then) if value == 1]
    broken = sum(math.isnan(now[place]) for place in right)
    if broken or unknown:
        return Shares(flaw=f"{broken} answers now and {unknown} of the baseline's are not numbers")
    if not right:
        return Shares(flaw="the baseline answered none of these questions right")
    kept: dict[int, list[float]] = {}
    for place in right:
        kept.setdefault(int(outcomes.request[place]), []).append(now[place])
    means = [math.fsum(values) / len(values) for values in kept.values()]
    note = f"of {len(questions)} questions the baseline was asked {known}, and answered {len(right)} right"
    return Shares(np.array(means), list(kept), note)
