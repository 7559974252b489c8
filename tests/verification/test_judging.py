"""Shares, intervals and verdicts against plain loops."""

from __future__ import annotations

import math
from statistics import fmean

import numpy as np
import pytest
import torch

from edit_lit.measures.outcomes import KINDS, Kind, Outcomes
from edit_lit.measures.scores import Rule, wilson_interval
from edit_lit.verification.demand import Bound, Group
from edit_lit.verification.judging import Standing, interval, judge, shares_by_rule, shares_kept

FACTS = [[1, 0, 1], [1], [0, 0], [1, 1, 1, 1]]
"""Whether each question of four facts is right."""


def answers(facts=FACTS, nll=2.0) -> Outcomes:
    request = [number for number, of_fact in enumerate(facts) for _ in of_fact]
    prompt = [place for of_fact in facts for place in range(len(of_fact))]
    exact = torch.tensor([[float(right), 0.0] for of_fact in facts for right in of_fact], dtype=torch.float64)
    losses = torch.full_like(exact, nll) - exact
    kind = torch.full((len(request),), KINDS.index(Kind.PARAPHRASE))
    return Outcomes(torch.tensor(request), kind, torch.tensor(prompt), losses, exact, exact.clone(), exact.clone())


def test_the_unit_is_the_fact():
    shares = shares_by_rule(answers(), Rule.EXACT)
    assert shares.value_F.tolist() == [fmean(of_fact) for of_fact in FACTS]
    judged = judge(Group.GENERALIZATION, "exact", Bound(">=", 0.6), shares, by_interval=False)
    assert judged.share == pytest.approx(fmean(fmean(of_fact) for of_fact in FACTS))
    assert judged.standing is Standing.HOLDS
    assert judged.facts == 4
    assert list(judged.failing) == [0, 2]


def test_the_worse_end_of_the_interval_decides_where_it_is_asked_to():
    shares = shares_by_rule(answers([[1]] * 19 + [[0]]), Rule.EXACT)
    low, high = wilson_interval(19, 20)
    for bound, by_point, by_interval in (
        (Bound(">=", 0.9), Standing.HOLDS, Standing.SHORT),
        (Bound(">=", low - 1e-6), Standing.HOLDS, Standing.HOLDS),
        (Bound("<=", 0.96), Standing.HOLDS, Standing.SHORT),
        (Bound("<=", high + 1e-6), Standing.HOLDS, Standing.HOLDS),
    ):
        assert judge(Group.EDITED, "exact", bound, shares, by_interval=False).standing is by_point
        assert judge(Group.EDITED, "exact", bound, shares, by_interval=True).standing is by_interval


def test_shares_of_prompts_have_an_interval_over_facts():
    values = np.array([0.5, 1.0, 0.0, 1.0] * 10)
    low, high = interval(values)
    spread = 1.96 * values.std() / math.sqrt(len(values))
    assert low == pytest.approx(values.mean() - spread, abs=0.05)
    assert high == pytest.approx(values.mean() + spread, abs=0.05)
    assert interval(values) == (low, high), "the same every time"


def test_answers_that_are_no_numbers_are_not_judged():
    broken = answers()
    broken.nll[3] = math.nan
    shares = shares_by_rule(broken, Rule.EXACT)
    judged = judge(Group.EDITED, "exact", Bound(">=", 0.0), shares, by_interval=False)
    assert judged.standing is Standing.NOT_JUDGED
    assert "1 of 10 answers are not numbers" in judged.note
    assert math.isnan(judged.share)


def test_a_rule_that_judges_nothing_is_not_judged_and_one_that_judges_some_says_so():
    lone = answers()
    lone.nll[:, 1] = math.nan
    assert "judges none" in shares_by_rule(lone, Rule.PROB).flaw
    some = answers()
    some.nll[0, 1] = math.nan
    shares = shares_by_rule(some, Rule.PROB)
    assert shares.note == "1 questions without an alternative are left out"
    assert shares.value_F.tolist() == [0.5, 1.0, 0.0, 1.0]
    assert "has such a question" in shares_by_rule(Outcomes.empty(), Rule.EXACT).flaw


def keys(facts=FACTS):
    return [(f"fact {number}", "paraphrase", place) for number, of in enumerate(facts) for place in range(len(of))]


def test_retention_is_of_what_the_baseline_answered_right():
    then = [[1, 1, 0], [1], [1, 0], [0, 0, 1, 1]]
    baseline = dict(zip(keys(), [float(right) for of_fact in then for right in of_fact], strict=True))
    del baseline["fact 1", "paraphrase", 0]
    expected = []
    for number, of_fact in enumerate(FACTS):
        kept = [
            right for place, right in enumerate(of_fact) if baseline.get((f"fact {number}", "paraphrase", place)) == 1
        ]
        if kept:
            expected.append(fmean(kept))
    shares = shares_kept(answers(), keys(), baseline)
    assert shares.value_F.tolist() == expected == [0.5, 0.0, 1.0]
    assert list(shares.place_F) == [0, 2, 3]
    assert shares.note == "of 10 questions the baseline was asked 9, and answered 5 right"


def test_a_baseline_of_other_facts_is_not_judged():
    assert "was asked none" in shares_kept(answers(), keys(), {("other", "paraphrase", 0): 1.0}).flaw
    wrong = dict.fromkeys(keys(), 0.0)
    assert "answered none of these questions right" in shares_kept(answers(), keys(), wrong).flaw
    unknown = dict.fromkeys(keys(), math.nan)
    assert "10 of the baseline's are not numbers" in shares_kept(answers(), keys(), unknown).flaw
