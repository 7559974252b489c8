"""Scores of outcomes: pure functions from tensors to numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from edit_lit.measures.outcomes import KINDS, Kind, Outcomes
from edit_lit.measures.request_means import request_means


class Rule(StrEnum):
    """When a question counts as answered.

    ``prob``: the answer is likelier per token than the alternative; ``exact``: every answer token is the argmax
    under teacher forcing, which is when greedy decoding writes it; ``first``: the first token is; ``token``: the share
    of tokens that are, which is not a yes or no.
    """

    PROB = "prob"
    EXACT = "exact"
    FIRST = "first"
    TOKEN = "token"


SCORE_NAMES = {
    Kind.REWRITE: "efficacy",
    Kind.PARAPHRASE: "generalization",
    Kind.NEIGHBORHOOD: "specificity",
    Kind.PORTABILITY: "portability",
}


def applies(outcomes: Outcomes, rule: Rule) -> Tensor:
    """Whether each question can be judged by a rule, [Q]: ``prob`` needs an alternative."""
    return outcomes.has_alternative() if rule is Rule.PROB else torch.ones(len(outcomes), dtype=torch.bool)


def success(outcomes: Outcomes, rule: Rule, alternative: bool = False) -> Tensor:
    """Success of each question, between 0 and 1, [Q]; NaN where the rule does not apply or the answer is no number.

    With ``alternative`` it is the alternative that is judged, as if it were the answer.
    """
    side = int(alternative)
    if rule is Rule.PROB:
        values = (outcomes.nll[:, side] < outcomes.nll[:, 1 - side]).to(outcomes.nll.dtype)
    else:
        values = {Rule.EXACT: outcomes.exact, Rule.FIRST: outcomes.first, Rule.TOKEN: outcomes.token}[rule][:, side]
    return values.masked_fill(~applies(outcomes, rule) | outcomes.not_a_number(), math.nan)


def mean_success(outcomes: Outcomes, rule: Rule) -> float:
    """Mean success over each request's prompts, then over requests.

    Questions to which the rule does not apply are left out. NaN if there are no others, or if any of these has an
    answer that is not a number.
    """
    rows = outcomes[applies(outcomes, rule)]
    return mean_over_requests(success(rows, rule), rows.request)


def mean_over_requests(values: Tensor, request: Tensor) -> float:
    """Mean over each request's prompts, then over requests, as CounterFact is scored; NaN without values.

    Args:
        values: One number per question, [Q]. With a NaN among them the mean is NaN: one over the rest would mislead.
        request: The request of each question, [Q].

    Examples:
        Four questions about the first request and one about the second:

        >>> mean_over_requests(torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0]), torch.tensor([0, 0, 0, 0, 1]))
        0.375
    """
    if not len(values):
        return math.nan
    return float(request_means(values, request)[1].mean())


def edit_scores(outcomes: Outcomes, rule: Rule) -> dict[str, float]:
    """Efficacy, generalization, specificity and portability, and the harmonic mean of the first three as ``score``.

    A kind that nobody asked about, or to which the rule does not apply, has no entry. One with an answer that is not a
    number has NaN.
    """
    scores = {}
    for kind in KINDS:
        rows = outcomes.of_kind(kind)
        if applies(rows, rule).any():
            scores[SCORE_NAMES[kind]] = mean_success(rows, rule)
    main = [scores[SCORE_NAMES[kind]] for kind in KINDS[:3] if SCORE_NAMES[kind] in scores]
    if len(main) == 3:
        scores["score"] = harmonic_mean(main)
    return scores


def harmonic_mean(values: Sequence[float]) -> float:
    """N / Σ 1/v; zero if any value is, NaN if any is NaN.

    Examples:
        >>> round(harmonic_mean([1.0, 0.95, 0.8]), 3)
        0.908
    """
    if any(math.isnan(value) for value in values):
        return math.nan
    return 0.0 if min(values) <= 0 else len(values) / sum(1 / value for value in values)


@dataclass(frozen=True)
class TransitionCounts:
    """How many facts succeed and fail now, against the baseline.

    ``stable``, ``erased``, ``emergent`` and ``impossible`` are success → success, success → failure, failure → success
    and failure → failure. ``reverted`` and ``displaced`` split the erased facts by whether they answer the
    alternative now, by the same rule. ``not_a_number`` counts those with an answer that is not a number at either end,
    and ``already_right`` those that were right before the edit, which no edit can make right; it is none if nobody
    knows. Neither is in any of the classes.

    Examples:
        >>> counts = TransitionCounts(stable=41, erased=9, emergent=0, impossible=0, reverted=7)
        >>> counts.retention, counts.displaced
        (0.82, 2)
    """

    stable: int
    erased: int
    emergent: int
    impossible: int
    reverted: int
    not_a_number: int = 0
    already_right: int | None = None

    @property
    def displaced(self) -> int:
        """Erased facts that answer something else than the alternative."""
        return self.erased - self.reverted

    @property
    def total(self) -> int:
        """All facts that are in a class."""
        return self.stable + self.erased + self.emergent + self.impossible

    @property
    def baseline_successes(self) -> int:
        """Facts in a class that succeeded at the baseline."""
        return self.stable + self.erased

    @property
    def retention(self) -> float:
        """Share of the baseline's successes that still succeed.

        NaN if there were none, or if any answer is not a number: a share of the rest would mislead.
        """
        unknown = self.not_a_number > 0 or self.baseline_successes == 0
        return math.nan if unknown else self.stable / self.baseline_successes

    @property
    def edit_flip_rate(self) -> float:
        """1 − retention."""
        return 1 - self.retention

    def shares(self) -> dict[str, float]:
        """Each class as a share of all facts in one; NaN where retention would be, and without facts."""
        names = ("stable", "erased", "emergent", "impossible", "reverted", "displaced")
        unknown = self.not_a_number > 0 or self.total == 0
        return {name: math.nan if unknown else getattr(self, name) / self.total for name in names}


def transition_counts(
    baseline: Outcomes, now: Outcomes, rule: Rule, kind: Kind = Kind.REWRITE, before: Outcomes | None = None
) -> TransitionCounts:
    """Compare outcomes of one kind with those of the baseline, question by question.

    Questions to which the rule does not apply are left out. Under ``token`` only a full share is a success.

    Args:
        baseline: Outcomes right after the edit.
        now: Outcomes of the same questions at a later step.
        rule: The success rule.
        kind: Which questions.
        before: Outcomes of the same questions before the edit; give those of the edited facts. What was right then is
            in no class, but in ``already_right``: the edit did not make it right. It makes no difference to
            neighborhood prompts, which ought to be right all along. Without it every success at the baseline counts.

    Examples:
        Two facts that succeeded, of which the second answers the alternative by now:

        >>> def outcomes(exact: list[list[float]]) -> Outcomes:
        ...     number, pair = torch.arange(2), torch.tensor(exact).double()
        ...     return Outcomes(number, number * 0, number * 0, nll=1 - pair, exact=pair, token=pair, first=pair)
        >>> baseline, now = outcomes([[1, 0], [1, 0]]), outcomes([[1, 0], [0, 1]])
        >>> counts = transition_counts(baseline, now, Rule.EXACT)
        >>> counts.stable, counts.erased, counts.reverted, counts.retention
        (1, 1, 1, 0.5)

        The first was right before the edit:

        >>> counts = transition_counts(baseline, now, Rule.EXACT, before=outcomes([[1, 0], [0, 1]]))
        >>> counts.already_right, counts.stable, counts.erased, counts.retention
        (1, 0, 1, 0.0)
    """
    looks_back = before is not None and kind is not Kind.NEIGHBORHOOD
    stages = [rows.of_kind(kind) for rows in (baseline, now, before if looks_back else None) if rows is not None]
    asked = torch.stack([applies(rows, rule) for rows in stages]).all(dim=0)
    successes = torch.stack([success(rows, rule) for rows in stages])[:, asked]
    known = ~successes.isnan().any(dim=0)
    had, has, *rest = successes[:, known] == 1
    already = rest[0] if rest else torch.zeros_like(had)
    had_not, had = ~had & ~already, had & ~already
    answers_alternative = success(stages[1], rule, alternative=True)[asked][known] == 1
    return TransitionCounts(
        stable=int((had & has).sum()),
        erased=int((had & ~has).sum()),
        emergent=int((had_not & has).sum()),
        impossible=int((had_not & ~has).sum()),
        reverted=int((had & ~has & answers_alternative).sum()),
        not_a_number=int((~known).sum()),
        already_right=int(already.sum()) if rest else None,
    )


def made_right(before: Outcomes, baseline: Outcomes, rule: Rule, kind: Kind = Kind.REWRITE) -> tuple[int, int]:
    """How many questions the edit made right, and how many were wrong before it: whether the edit took.

    Args:
        before: Outcomes before the edit.
        baseline: Outcomes of the same questions right after it.
        rule: The success rule.
        kind: Which questions.
    """
    counts = transition_counts(baseline, baseline, rule, kind, before)
    return counts.stable, counts.total


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927), 95 % by default; (NaN, NaN) without trials.

    Examples:
        >>> [round(bound, 3) for bound in wilson_interval(41, 50)]
        [0.692, 0.902]
    """
    if trials == 0:
        return math.nan, math.nan
    share = successes / trials
    scale = 1 + z * z / trials
    center = (share + z * z / (2 * trials)) / scale
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / scale
    return max(0.0, center - half), min(1.0, center + half)


def half_life(steps: Sequence[int], retention: Sequence[float]) -> int | None:
    """The first step at which retention is 0.5 or less; nothing if it never was (censored).

    A NaN is a retention that nobody knows, never one that is low. See :func:`diverged_step` for those.

    Examples:
        >>> half_life([0, 50, 100, 150], [1.0, 0.7, 0.45, 0.5])
        100
    """
    return next((step for step, value in zip(steps, retention, strict=True) if value <= 0.5), None)


def diverged_step(curve: Mapping[int, Outcomes]) -> int | None:
    """The first step at which an answer was not a number; nothing if all were numbers.

    Args:
        curve: Outcomes by step, in any order.
    """
    return min((step for step, outcomes in curve.items() if outcomes.not_a_number().any()), default=None)


def target_probability(outcomes: Outcomes) -> float:
    """Mean over requests of the answer's probability per token, exp(−nll), on the rewrite prompts.

    NaN if an answer is not a number.
    """
    rows = outcomes.of_kind(Kind.REWRITE)
    return mean_over_requests(_known(rows, (-rows.nll[:, 0]).exp()), rows.request)


def margin(outcomes: Outcomes) -> float:
    """Mean over requests of log P(answer) − log P(alternative) per token, in nats, on the rewrite prompts.

    Prompts without an alternative are left out. NaN if an answer is not a number.
    """
    rows = outcomes.of_kind(Kind.REWRITE)
    rows = rows[rows.has_alternative()]
    return mean_over_requests(_known(rows, rows.nll[:, 1] - rows.nll[:, 0]), rows.request)


def _known(outcomes: Outcomes, values: Tensor) -> Tensor:
    """Values of questions, NaN where an answer is not a number; infinities would make means of their own."""
    return values.masked_fill(outcomes.not_a_number(), math.nan)
