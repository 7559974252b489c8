"""Fates of facts against a walk through each fact's own answers."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from edit_lit.measures.fates import FATES, Fate, degenerate, fates_of
from edit_lit.measures.outcomes import KINDS, Outcomes
from edit_lit.measures.scores import Rule, transition_counts

FACTS = 60
STEPS = (0, 1, 5, 20, 40)


def random_outcomes(seed, broken=0.0, alternatives=True):
    """One rewrite and one paraphrase of each fact."""
    rng = np.random.default_rng(seed)
    request = torch.arange(FACTS).repeat_interleave(2)
    kind = torch.tensor([0, 1] * FACTS)
    hits = torch.tensor((rng.random((3, 2 * FACTS, 2)) < 0.6).astype(float))
    nll = torch.tensor(rng.random((2 * FACTS, 2)))
    lost = torch.tensor(rng.random(2 * FACTS) < broken)
    for tensor in (nll, *hits):
        tensor[lost] = math.nan
    if not alternatives:
        nll[::4, 1], hits[1, ::4, 1], hits[0, ::4, 1], hits[2, ::4, 1] = math.nan, math.nan, 0.0, 0.0
    return Outcomes(request, kind, kind * 0, nll, *hits)


def expected_fate(outcomes, fact, rule, reverts):
    """One answer, judged by hand."""
    row = 2 * fact
    answer, other = outcomes.nll[row].tolist()
    if math.isnan(answer):
        return Fate.BROKEN
    column = {Rule.EXACT: outcomes.exact, Rule.FIRST: outcomes.first, Rule.TOKEN: outcomes.token}.get(rule)
    says_new, says_old = column[row].tolist() if column is not None else (answer < other, other < answer)
    if says_new == 1:
        return Fate.ALIVE
    return Fate.REVERTED if says_old == 1 and reverts else Fate.DISPLACED


@pytest.mark.parametrize("rule", Rule)
@pytest.mark.parametrize(("before", "alternatives", "reverts"), [(True, True, True), (False, False, False)])
def test_fates_are_those_of_a_walk_through_each_facts_answers(rule, before, alternatives, reverts):
    curve = {
        step: random_outcomes(step, broken=0.1 * (place == 3), alternatives=alternatives)
        for place, step in enumerate(STEPS)
    }
    unedited = random_outcomes(99, alternatives=alternatives) if before else None
    found = fates_of(curve, rule, unedited, reverts)
    walked, never, already, unjudged = [], (), (), ()
    for fact in range(FACTS):
        if rule is Rule.PROB and not alternatives and fact % 2 == 0:
            unjudged += (fact,)
            continue
        fates = [expected_fate(outcomes, fact, rule, reverts) for outcomes in curve.values()]
        if before and expected_fate(unedited, fact, rule, reverts) is Fate.ALIVE:
            already += (fact,)
        elif fates[0] is not Fate.ALIVE:
            never += (fact,)
        else:
            walked.append((fact, fates))
    assert found.request_F.tolist() == [fact for fact, _ in walked]
    assert [[FATES[place] for place in column] for column in found.fate_TF.T] == [fates for _, fates in walked]
    assert (found.never_taken, found.already_right, found.not_judged) == (never, already if before else None, unjudged)
    for place, counts in enumerate(zip(*found.counts().values(), strict=True)):
        assert list(counts) == [sum(fates[place] is fate for _, fates in walked) for fate in FATES]
    for number, (fact, fates) in enumerate(walked):
        living = [fate is Fate.ALIVE for fate in fates]
        assert found.returns_of_facts()[number] == sum(b > a for a, b in pairwise(living))
        last = max(place for place, alive in enumerate(living) if alive)
        between = None if living[-1] else (STEPS[last], STEPS[last + 1])
        assert found.lost_between()[number] == between
        margin = float(curve[5].nll[2 * fact, 1] - curve[5].nll[2 * fact, 0])
        assert found.margin_TF[2, number] == pytest.approx(margin, nan_ok=True)
    assert found.last == [fates[-1] for _, fates in walked]


@pytest.mark.parametrize("rule", [Rule.PROB, Rule.EXACT, Rule.FIRST])
def test_their_counts_are_those_of_the_transitions(rule):
    curve = {step: random_outcomes(step) for step in STEPS}
    before = random_outcomes(99)
    counts = fates_of(curve, rule, before).counts()
    for place, outcomes in enumerate(curve.values()):
        of_step = transition_counts(curve[0], outcomes, rule, before=before)
        assert counts[Fate.ALIVE][place] == of_step.stable
        assert counts[Fate.REVERTED][place] == of_step.reverted
        assert counts[Fate.DISPLACED][place] == of_step.displaced


def test_deaths_and_returns_balance_the_living():
    found = fates_of({step: random_outcomes(step) for step in STEPS}, Rule.EXACT)
    alive = found.counts()[Fate.ALIVE]
    np.testing.assert_array_equal(np.diff(alive), (found.returns() - found.deaths())[1:])
    assert found.returns().sum() == found.returns_of_facts().sum() > 0
    early = found.up_to(5)
    assert early.steps.tolist() == [0, 1, 5]
    np.testing.assert_array_equal(early.fate_TF, found.fate_TF[:3])


def of_answers(right):
    """Curves of facts by their answers, [T, F]."""
    outcomes = {}
    for step, answers in enumerate(right):
        hit = torch.tensor(answers, dtype=torch.float64)
        pair = torch.stack([hit, torch.zeros_like(hit)], dim=1)
        place = torch.arange(len(answers))
        outcomes[step] = Outcomes(place, place * 0, place * 0, 1 - pair, pair, pair, pair)
    return outcomes


def test_facts_stand_in_the_order_of_their_death():
    right = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 1, 0], [1, 0, 0, 0, 1], [1, 0, 0, 1, 1], [1, 0, 0, 0, 0]])
    found = fates_of(of_answers(right), Rule.EXACT)
    # Fact 2 is lost at 1, fact 1 at 2, facts 4 and 3 at the end of whom 4 had died first; fact 0 lives.
    assert found.order_of_death().tolist() == [2, 1, 4, 3, 0]


def test_senseless_texts_break_a_fact_only_where_every_probe_has_one():
    curve = of_answers([[1, 1], [0, 0], [0, 1]])
    texts = {0: ["west", "west"], 1: ["the the the the", " Paris"], 2: [" Paris", "a a a a a"]}
    found = fates_of(curve, Rule.EXACT, texts=texts)
    assert [[FATES[place] for place in row] for row in found.fate_TF] == [
        [Fate.ALIVE, Fate.ALIVE],
        [Fate.BROKEN, Fate.DISPLACED],
        [Fate.DISPLACED, Fate.ALIVE],
    ]
    some = fates_of(curve, Rule.EXACT, texts={2: texts[2], 1: texts[1]})
    assert Fate.BROKEN not in {FATES[place] for place in some.fate_TF.ravel()}
    assert all(map(degenerate, ["  \n", "no no no no no"]))
    assert not any(map(degenerate, ["no no no", "no no no yes"]))


def test_a_tie_under_prob_is_neither_object():
    curve = {0: random_outcomes(0), 1: replace(random_outcomes(0), nll=torch.ones(2 * FACTS, 2))}
    found = fates_of(curve, Rule.PROB)
    assert set(found.last) == {Fate.DISPLACED}
    assert len(found) == int((curve[0].nll[::2, 0] < curve[0].nll[::2, 1]).sum())
    assert KINDS[0] == "rewrite"
