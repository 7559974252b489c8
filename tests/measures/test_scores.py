from __future__ import annotations

import math
import random

import pytest
import torch

from edit_lit.measures.curve import curve_point
from edit_lit.measures.fates import Fate
from edit_lit.measures.outcomes import KINDS, Kind, Outcomes, Pool
from edit_lit.measures.scores import (
    Rule,
    edit_scores,
    half_life,
    harmonic_mean,
    made_right,
    margin,
    success,
    target_probability,
    transition_counts,
    wilson_interval,
)


def random_outcomes(seed, facts=12):
    """Two to four prompts of each kind for each fact, with random answers."""
    generator = random.Random(seed)
    rows = [
        (fact, KINDS.index(kind), place)
        for fact in range(facts)
        for kind in KINDS
        for place in range(1 if kind is Kind.REWRITE else 2 + fact % 3)
    ]
    pair = lambda draw: torch.tensor([[draw(), draw()] for _ in rows], dtype=torch.float64)  # noqa: E731
    request, kind, prompt = (torch.tensor(column) for column in zip(*rows, strict=True))
    nll = pair(lambda: generator.expovariate(1))
    exact = pair(lambda: float(generator.random() < 0.6))
    nll[3, 1], exact[3, 1] = math.nan, 0
    return Outcomes(
        request, kind, prompt, nll, exact, pair(generator.random), pair(lambda: float(generator.random() < 0.7))
    )


def looped(outcomes, rule, kind):
    """The mean over prompts of a fact, then over facts, by plain loops."""
    means = []
    for fact in sorted(set(outcomes.request.tolist())):
        values = []
        for row in range(len(outcomes)):
            if outcomes.request[row] != fact or KINDS[outcomes.kind[row]] is not kind:
                continue
            answer, alternative = (float(value) for value in outcomes.nll[row])
            if rule is Rule.PROB:
                if not math.isnan(alternative):
                    values.append(float(answer < alternative))
            else:
                column = {"exact": outcomes.exact, "first": outcomes.first, "token": outcomes.token}[rule]
                values.append(float(column[row, 0]))
        if values:
            means.append(sum(values) / len(values))
    return sum(means) / len(means)


@pytest.mark.parametrize("rule", list(Rule))
def test_scores_equal_plain_loops(rule):
    outcomes = random_outcomes(1)
    scores = edit_scores(outcomes, rule)
    names = {"efficacy": Kind.REWRITE, "generalization": Kind.PARAPHRASE, "specificity": Kind.NEIGHBORHOOD}
    for name, kind in (*names.items(), ("portability", Kind.PORTABILITY)):
        assert scores[name] == pytest.approx(looped(outcomes, rule, kind))
    assert scores["score"] == pytest.approx(3 / sum(1 / scores[name] for name in names))


def test_a_kind_that_nobody_asks_has_no_score():
    outcomes = random_outcomes(1)
    scores = edit_scores(outcomes[outcomes.kind == KINDS.index(Kind.REWRITE)], Rule.EXACT)
    assert set(scores) == {"efficacy"}


@pytest.mark.parametrize("rule", [Rule.PROB, Rule.EXACT, Rule.FIRST])
def test_transition_counts_equal_a_plain_loop(rule):
    before, now = random_outcomes(1), random_outcomes(2)
    counts = {"stable": 0, "erased": 0, "emergent": 0, "impossible": 0, "reverted": 0, "displaced": 0}
    for row in range(len(before)):
        if KINDS[before.kind[row]] is not Kind.REWRITE:
            continue
        had, has = (float(success(outcomes, rule)[row]) for outcomes in (before, now))
        if math.isnan(had) or math.isnan(has):
            continue
        name = {(1, 1): "stable", (1, 0): "erased", (0, 1): "emergent", (0, 0): "impossible"}[had, has]
        counts[name] += 1
        if name == "erased":
            answer, other = now.nll[row].tolist()
            old = {Rule.PROB: other < answer, Rule.EXACT: now.exact[row, 1], Rule.FIRST: now.first[row, 1]}[rule]
            counts["reverted" if old else "displaced"] += 1
    transitions = transition_counts(before, now, rule)
    assert {name: getattr(transitions, name) for name in counts} == counts
    assert transitions.retention == counts["stable"] / (counts["stable"] + counts["erased"])
    assert transitions.edit_flip_rate == pytest.approx(1 - transitions.retention)
    assert transitions.shares()["erased"] == counts["erased"] / transitions.total
    same = transition_counts(before, before, rule)
    assert (same.retention, same.erased, same.emergent) == (1, 0, 0)


@pytest.mark.parametrize("rule", [Rule.PROB, Rule.EXACT, Rule.FIRST])
def test_what_was_right_before_the_edit_is_counted_apart(rule):
    before, baseline, now = (random_outcomes(seed) for seed in (4, 1, 2))
    already, stable, erased, made, wrong = 0, 0, 0, 0, 0
    for row in range(len(before)):
        if KINDS[before.kind[row]] is not Kind.PARAPHRASE:
            continue
        was, had, has = (float(success(outcomes, rule)[row]) for outcomes in (before, baseline, now))
        if math.isnan(was) or math.isnan(had) or math.isnan(has):
            continue
        already += was == 1
        stable += was == 0 and had == 1 and has == 1
        erased += was == 0 and had == 1 and has == 0
        wrong += was == 0
        made += was == 0 and had == 1
    counts = transition_counts(baseline, now, rule, Kind.PARAPHRASE, before=before)
    assert (counts.already_right, counts.stable, counts.erased) == (already, stable, erased)
    assert counts.total == wrong
    assert min(already, erased) > 0
    assert counts.retention == stable / (stable + erased)
    assert made_right(before, baseline, rule, Kind.PARAPHRASE) == (made, wrong)
    assert transition_counts(baseline, now, rule, Kind.PARAPHRASE).already_right is None
    # Neighborhood prompts are to be right before the edit and behind it.
    around = transition_counts(baseline, now, rule, Kind.NEIGHBORHOOD, before=before)
    assert around == transition_counts(baseline, now, rule, Kind.NEIGHBORHOOD)


def test_the_curve_of_the_edited_facts_alone_looks_back():
    before, baseline, now = (dict.fromkeys((Pool.EDITED, Pool.INTRINSIC), random_outcomes(seed)) for seed in (4, 1, 2))
    plain, point = curve_point(baseline, now), curve_point(baseline, now, before)
    counts = transition_counts(baseline[Pool.EDITED], now[Pool.EDITED], Rule.EXACT, before=before[Pool.EDITED])
    assert point["retention/edited/exact"] == counts.retention != plain["retention/edited/exact"]
    assert point["retention/intrinsic/exact"] == plain["retention/intrinsic/exact"]
    assert all(tag.startswith(("retention/", "fates/")) for tag in point if point[tag] != plain[tag])


def test_probability_and_margin_of_the_rewrite_prompts():
    outcomes = random_outcomes(3)
    rows = [row for row in range(len(outcomes)) if KINDS[outcomes.kind[row]] is Kind.REWRITE]
    chances = [math.exp(-float(outcomes.nll[row, 0])) for row in rows]
    assert target_probability(outcomes) == pytest.approx(sum(chances) / len(rows))
    margins = [float(outcomes.nll[row, 1] - outcomes.nll[row, 0]) for row in rows]
    kept = [value for value in margins if not math.isnan(value)]
    assert margin(outcomes) == pytest.approx(sum(kept) / len(kept))


def test_what_is_no_more_likely_than_the_alternative_fails():
    outcomes = random_outcomes(1)
    outcomes.nll[0] = 0.5
    assert success(outcomes, Rule.PROB)[0] == 0
    assert success(outcomes, Rule.PROB).dtype == outcomes.nll.dtype


def test_a_fact_without_an_alternative_is_in_no_class_at_either_end():
    before, now = random_outcomes(1), random_outcomes(2)
    rows = [row for row in range(len(now)) if KINDS[now.kind[row]] is Kind.REWRITE]
    before.nll[rows[1], 1] = now.nll[rows[2], 1] = math.nan
    before.exact[rows[1], 1] = now.exact[rows[2], 1] = 0
    kept = [row for row in rows if not (before.nll[row].isnan().any() or now.nll[row].isnan().any())]
    assert len(kept) < len(rows) - 1
    assert transition_counts(before, now, Rule.PROB).total == len(kept)


def test_small_statistics():
    assert harmonic_mean([1, 0.5]) == pytest.approx(2 / 3)
    assert harmonic_mean([1, 0]) == 0
    # Agresti and Coull's example of Wilson's interval: 0 of 10 and 5 of 10.
    assert wilson_interval(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert all(math.isnan(bound) for bound in wilson_interval(0, 0))
    assert half_life([0, 10, 20, 30], [1, 0.6, 0.5, 0.7]) == 20
    assert half_life([0, 10], [1, 0.51]) is None
    with pytest.raises(ValueError, match="shorter"):
        half_life([0, 10], [1])
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1), abs=1e-4)
    assert all(wilson_interval(trials, trials)[1] <= 1 for trials in range(1, 200))


def test_a_point_of_the_curve_names_every_number_by_its_rule():
    before, now = random_outcomes(1), random_outcomes(2)
    point = curve_point({Pool.EDITED: before, Pool.INTRINSIC: before}, {Pool.EDITED: now, Pool.INTRINSIC: now})
    assert point["retention/edited/exact"] == transition_counts(before, now, Rule.EXACT).retention
    assert point["retention/efr/prob"] == pytest.approx(1 - point["retention/edited/prob"])
    assert point["edit/score/prob"] == edit_scores(now, Rule.PROB)["score"]
    parts = ("stable", "erased", "emergent", "impossible")
    assert sum(point[f"retention/{name}/exact"] for name in parts) == pytest.approx(1)
    total = point["retention/reverted/exact"] + point["retention/displaced/exact"]
    assert total == pytest.approx(point["retention/erased/exact"])
    assert not any(math.isnan(value) for value in point.values())
    assert point["edit/target_prob"] == target_probability(now)
    assert point["edit/margin"] == margin(now)
    kinds = ("efficacy", "generalization", "specificity", "portability", "score")
    classes = ("efr", "stable", "erased", "emergent", "impossible", "reverted", "displaced", "edited", "intrinsic")
    expected = {f"edit/{name}/{rule}" for name in kinds for rule in ("prob", "exact", "first", "token")}
    expected |= {f"retention/{name}/{rule}" for name in classes for rule in ("prob", "exact", "first")}
    expected |= {f"fates/{fate}/{rule}" for fate in Fate for rule in ("prob", "exact", "first")}
    assert set(point) == expected | {"edit/target_prob", "edit/margin"}
    assert sum(point[f"fates/{fate}/exact"] for fate in Fate) == pytest.approx(1)
    assert point["fates/alive/exact"] == point["retention/edited/exact"]
