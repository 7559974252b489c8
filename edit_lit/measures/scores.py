"""Scores of outcomes: pure functions from tensors to numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from edit_lit.measures.outcomes import KINDS, Kind, Outcomes


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


def success(outcomes: Outcomes, rule: Rule) -> Tensor:
    """Success of each question, between 0 and 1, [Q]; NaN where the rule does not apply."""
    if rule is Rule.PROB:
        answer, alternative = outcomes.nll.unbind(1)
        return torch.where(alternative.isnan(), alternative, (answer < alternative).to(answer.dtype))
    columns = {Rule.EXACT: outcomes.exact, Rule.FIRST: outcomes.first, Rule.TOKEN: outcomes.token}
    return columns[rule][:, 0]


def mean_over_requests(values: Tensor, request: Tensor) -> float:
    """Mean over each request's prompts, then over requests, as CounterFact is scored; NaN without values.

    Args:
        values: One number per question, [Q]; NaN entries are left out.
        request: The request of each question, [Q].

    Examples:
        Four questions about the first request and one about the second:

        >>> mean_over_requests(torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0]), torch.tensor([0, 0, 0, 0, 1]))
        0.375
    """
    kept = ~values.isnan()
    _, place = request[kept].unique(return_inverse=True)
    if not len(place):
        return math.nan
    size = int(place.max()) + 1
    sums = torch.zeros(size, dtype=values.dtype).index_add(0, place, values[kept])
    counts = torch.zeros(size, dtype=values.dtype).index_add(0, place, torch.ones_like(values[kept]))
    return float((sums / counts).mean())


def edit_scores(outcomes: Outcomes, rule: Rule) -> dict[str, float]:
    """Efficacy, generalization, specificity and portability, and the harmonic mean of the first three as ``score``.

    A kind that nobody asked about has no entry.
    """
    scores = {}
    for kind in KINDS:
        rows = outcomes.of_kind(kind)
        value = mean_over_requests(success(rows, rule), rows.request)
        if not math.isnan(value):
            scores[SCORE_NAMES[kind]] = value
    main = [scores[SCORE_NAMES[kind]] for kind in KINDS[:3] if SCORE_NAMES[kind] in scores]
    if len(main) == 3:
        scores["score"] = harmonic_mean(main)
    return scores


def harmonic_mean(values: Sequence[float]) -> float:
    """N / Σ 1/v; zero if any value is.

    Examples:
        >>> round(harmonic_mean([1.0, 0.95, 0.8]), 3)
        0.908
    """
    return 0.0 if min(values) <= 0 else len(values) / sum(1 / value for value in values)


@dataclass(frozen=True)
class TransitionCounts:
    """How many facts succeed and fail now, against the baseline.

    ``stable``, ``erased``, ``emergent`` and ``impossible`` are success → success, success → failure, failure → success
    and failure → failure. ``reverted`` and ``displaced`` split the erased facts by whether they answer the
    alternative now.

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

    @property
    def displaced(self) -> int:
        """Erased facts that answer something else than the alternative."""
        return self.erased - self.reverted

    @property
    def total(self) -> int:
        """All facts."""
        return self.stable + self.erased + self.emergent + self.impossible

    @property
    def baseline_successes(self) -> int:
        """Facts that succeeded at the baseline."""
        return self.stable + self.erased

    @property
    def retention(self) -> float:
        """Share of the baseline's successes that still succeed; NaN if there were none."""
        return self.stable / self.baseline_successes if self.baseline_successes else math.nan

    @property
    def edit_flip_rate(self) -> float:
        """1 − retention."""
        return 1 - self.retention

    def shares(self) -> dict[str, float]:
        """Each class as a share of all facts."""
        names = ("stable", "erased", "emergent", "impossible", "reverted", "displaced")
        return {name: getattr(self, name) / self.total for name in names}


def transition_counts(baseline: Outcomes, now: Outcomes, rule: Rule, kind: Kind = Kind.REWRITE) -> TransitionCounts:
    """Compare outcomes of one kind with those of the baseline, question by question.

    Questions to which the rule does not apply are left out. Under ``token`` only a full share is a success.

    Examples:
        Two facts that succeeded, of which the second answers the alternative by now:

        >>> def outcomes(exact: list[list[float]]) -> Outcomes:
        ...     number, pair = torch.arange(2), torch.tensor(exact)
        ...     return Outcomes(number, number * 0, number * 0, nll=1 - pair, exact=pair, token=pair, first=pair)
        >>> baseline, now = outcomes([[1, 0], [1, 0]]), outcomes([[1, 0], [0, 1]])
        >>> transition_counts(baseline, now, Rule.EXACT)
        TransitionCounts(stable=1, erased=1, emergent=0, impossible=0, reverted=1)
    """
    before_rows, now_rows = baseline.of_kind(kind), now.of_kind(kind)
    before, after = success(before_rows, rule), success(now_rows, rule)
    applies = ~before.isnan() & ~after.isnan()
    had, has = before[applies] == 1, after[applies] == 1
    answers_alternative = now_rows.exact[applies, 1] == 1
    return TransitionCounts(
        stable=int((had & has).sum()),
        erased=int((had & ~has).sum()),
        emergent=int((~had & has).sum()),
        impossible=int((~had & ~has).sum()),
        reverted=int((had & ~has & answers_alternative).sum()),
    )


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

    Examples:
        >>> half_life([0, 50, 100, 150], [1.0, 0.7, 0.45, 0.5])
        100
    """
    return next((step for step, value in zip(steps, retention, strict=True) if value <= 0.5), None)


def target_probability(outcomes: Outcomes) -> float:
    """Mean over requests of the answer's probability per token, exp(−nll), on the rewrite prompts."""
    rows = outcomes.of_kind(Kind.REWRITE)
    return mean_over_requests((-rows.nll[:, 0]).exp(), rows.request)


def margin(outcomes: Outcomes) -> float:
    """Mean over requests of log P(answer) − log P(alternative) per token, in nats, on the rewrite prompts."""
    rows = outcomes.of_kind(Kind.REWRITE)
    return mean_over_requests(rows.nll[:, 1] - rows.nll[:, 0], rows.request)
