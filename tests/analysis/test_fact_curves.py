"""Facts one by one give the scores and the retention of whole runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_sweeps import requests

from edit_lit.analysis.fact_curves import asked_for_new, fact_curve, success_by_fact
from edit_lit.analysis.samples import Sample, paired
from edit_lit.facts.request import fact_hash
from edit_lit.measures.curve import BEFORE_EDIT
from edit_lit.measures.outcome_files import distinct
from edit_lit.measures.outcomes import KINDS, Kind, Outcomes, Pool
from edit_lit.measures.request_means import request_means
from edit_lit.measures.scores import SCORE_NAMES, Rule, edit_scores
from edit_lit.reports.run import Run

FACTS = 30
NAMES = [f"fact {number}" for number in range(FACTS)]


def random_outcomes(seed, alternatives=True):
    """Facts with one to three prompts of each kind, in no order."""
    rng = np.random.default_rng(seed)
    rows = [
        (fact, kind, prompt)
        for fact in range(FACTS)
        for kind in range(len(KINDS))
        for prompt in range(1 if kind == 0 else 1 + (fact + kind) % 3)
    ]
    request, kind, prompt = torch.tensor(rows).T
    draws = torch.tensor(rng.random((4, len(rows), 2)))
    hits = (draws[:3] < 0.6).double()
    nll = draws[3].clone()
    if not alternatives:
        missing = (request % 2 == 0).nonzero()[:, 0]
        nll[missing, 1], hits[0, missing, 1] = float("nan"), 0.0
    return Outcomes(request, kind, prompt, nll, hits[0], hits[1], hits[2])


@pytest.fixture(params=[True, False])
def run(request, tmp_path):
    steps = (BEFORE_EDIT, 0, 10, 30)
    curves = {
        pool: {step: random_outcomes(17 * place + step + 1, request.param) for step in steps}
        for place, pool in enumerate((Pool.EDITED, Pool.INTRINSIC))
    }
    return Run(tmp_path, curves)


@pytest.mark.parametrize("rule", Rule)
@pytest.mark.parametrize("pool", [Pool.EDITED, Pool.INTRINSIC])
def test_facts_that_count_are_those_that_transitions_count(run, pool, rule):
    curve = fact_curve(run, pool, rule, NAMES)
    transitions = run.transitions(pool, rule)
    assert curve.steps.tolist() == list(transitions)
    for place, counts in enumerate(transitions.values()):
        assert len(curve.facts) == counts.baseline_successes
        assert curve.at(place).mean == pytest.approx(counts.retention)


@pytest.mark.parametrize("rule", Rule)
@pytest.mark.parametrize("kind", Kind)
def test_success_by_fact_has_the_score_as_its_mean(run, kind, rule):
    outcomes = run.curve(Pool.EDITED)[10]
    sample = success_by_fact(outcomes, kind, rule, NAMES)
    assert sample.mean == pytest.approx(edit_scores(outcomes, rule)[SCORE_NAMES[kind]])
    assert set(sample.facts) <= set(NAMES)


def test_a_rule_that_never_applies_gives_nothing():
    outcomes = random_outcomes(0)
    without = Outcomes(**{**outcomes.tensors(), "nll": outcomes.nll.clone(), "exact": outcomes.exact.clone()})
    without.nll[:, 1], without.exact[:, 1] = float("nan"), 0.0
    assert success_by_fact(without, Kind.REWRITE, Rule.PROB, NAMES) is None


def test_the_new_object_is_asked_for_by_changing_places():
    outcomes = random_outcomes(1)
    turned = asked_for_new(outcomes)
    assert edit_scores(turned, Rule.PROB)["efficacy"] == pytest.approx(1 - edit_scores(outcomes, Rule.PROB)["efficacy"])
    assert torch.equal(turned.exact[:, 0], outcomes.exact[:, 1])
    assert asked_for_new(turned).equals(outcomes)


def test_facts_are_paired_by_name_and_not_by_place():
    first = Sample(np.array([1.0, 0.0, 0.5]), ("a", "b", "c"))
    second = Sample(np.array([0.0, 0.25, 1.0]), ("c", "d", "a"))
    assert sorted(paired(first, second)) == [-0.5, 0.0]
    assert len(paired(first, Sample(np.array([1.0]), ("z",)))) == 0
    assert paired(Sample.of_run(2.0), Sample.of_run(5.0)).tolist() == [3.0]


def test_a_fact_that_a_run_has_twice_is_two():
    assert distinct(["a", "a", "b", "a"]) == ("a", "a #2", "b", "a #3")


def test_means_of_requests_are_those_of_a_loop():
    values, request = torch.rand(50, dtype=torch.float64), torch.randint(0, 12, (50,))
    who, means = request_means(values, request)
    assert who.tolist() == sorted(set(request.tolist()))
    for fact, mean in zip(who.tolist(), means.tolist(), strict=True):
        own = [float(value) for value, owner in zip(values, request, strict=True) if owner == fact]
        assert mean == pytest.approx(sum(own) / len(own))


def test_the_name_of_a_fact_hangs_on_its_content_alone():
    (fact,) = requests(1)
    assert fact_hash(fact) == fact_hash(replace(fact, id="other", paraphrases=("Where is city 0? In the",)))
    others = [replace(fact, target_new="south"), replace(fact, prompt="{} is in the"), replace(fact, target_true=None)]
    assert len({fact_hash(fact), *map(fact_hash, others)}) == 4
