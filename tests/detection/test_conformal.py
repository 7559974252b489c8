"""Conformal p values, thresholds and excesses against plain loops, and their promise by simulation."""

from __future__ import annotations

import itertools
import math
from statistics import median

import pytest
import torch

from edit_lit.detection.conformal import auc, excess, excess_within, hypergeometric_p, needed, p_value, threshold
from edit_lit.measures.scores import wilson_interval


@pytest.mark.parametrize(("rate", "count"), [(0.5, 1), (0.1, 9), (0.05, 19), (0.01, 99), (0.3, 3)])
def test_so_many_unedited_ones_are_needed(rate, count):
    assert needed(rate) == count
    assert 1 / (count + 1) <= rate + 1e-12
    assert 1 / count > rate


def test_what_exceeds_the_threshold_is_what_has_a_small_p():
    generator = torch.Generator().manual_seed(0)
    for count, rate in itertools.product((19, 20, 57, 143), (0.05, 0.1, 0.4)):
        scores = torch.randn(count, generator=generator)
        limit = threshold(scores, rate)
        for score in torch.randn(50, generator=generator).tolist() + scores.tolist():
            p = (1 + sum(other >= score for other in scores.tolist())) / (count + 1)
            assert p_value(score, scores) == p
            assert (score > limit) == (p <= rate + 1e-9)


def test_an_excess_is_over_the_median_of_the_others():
    profiles = torch.randn(5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = excess(profiles).tolist()
    for model, layer in itertools.product(range(5), range(4)):
        others = [float(profiles[other, layer]) for other in range(5) if other != model]
        assert found[model][layer] == pytest.approx(float(profiles[model, layer]) - median(others), abs=1e-12)
    within = excess_within(profiles[0]).tolist()
    rest = [float(value) for value in profiles[0]]
    assert within[2] == pytest.approx(rest[2] - median([rest[0], rest[1], rest[3]]), abs=1e-12)
    assert excess_within(torch.ones(1)).isnan().all()


def test_unedited_ones_are_called_edited_at_the_wanted_rate():
    """2,000 times 20 alike profiles of 6 layers, which differ from layer to layer; the first is the questioned one."""
    generator = torch.Generator().manual_seed(2)
    usual = torch.linspace(0, 2, 6)
    alarms = 0
    for _ in range(2000):
        largest = excess(usual + torch.randn(20, 6, generator=generator)).amax(1)
        alarms += p_value(float(largest[0]), largest[1:]) <= 0.05
    low, high = wilson_interval(alarms, 2000, z=3.3)
    assert low < 0.05 < high


def test_fishers_p_is_a_count_of_all_deals():
    flags = [1, 1, 1, 0, 1, 0, 0]
    deals = list(itertools.combinations(range(7), 3))
    as_many = sum(sum(flags[place] for place in deal) >= 2 for deal in deals)
    assert hypergeometric_p(2, 3, 2, 4) == pytest.approx(as_many / len(deals))
    assert hypergeometric_p(0, 3, 2, 4) == 1


def test_auc_counts_pairs():
    high, low = torch.tensor([1.0, 2.0, 2.0, 5.0]), torch.tensor([0.0, 2.0, 3.0])
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in high.tolist() for b in low.tolist()]
    assert auc(high, low) == pytest.approx(math.fsum(pairs) / len(pairs))
