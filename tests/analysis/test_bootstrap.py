"""Means over runs and their intervals, against plain loops, closed forms and simulated sweeps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edit_lit.analysis.bootstrap import estimate, percentile_interval, resampled_means, resampled_run_means


def made_up_runs(rng, runs=5, facts=30):
    """Runs of their own success rates, and successes of their facts."""
    return [(rng.random(facts) < rng.uniform(0.3, 0.9)).astype(float) for _ in range(runs)]


def loop_draws(runs, resamples, rng):
    """The hierarchical bootstrap as it is told: draw runs, then draw facts within each."""
    draws = []
    for _ in range(resamples):
        means = []
        for _ in runs:
            run = runs[rng.integers(len(runs))]
            means.append(sum(run[rng.integers(len(run))] for _ in run) / len(run))
        draws.append(sum(means) / len(means))
    return np.array(draws)


def test_draws_are_spread_as_those_of_a_plain_loop():
    runs = made_up_runs(np.random.default_rng(0))
    ours = resampled_run_means(runs, 20_000, np.random.default_rng(1))
    plain = loop_draws(runs, 2000, np.random.default_rng(2))
    for share in (0.025, 0.25, 0.5, 0.75, 0.975):
        assert np.quantile(ours, share) == pytest.approx(np.quantile(plain, share), abs=0.02)


@pytest.mark.parametrize("levels", [2, 7, 1000])
def test_the_variance_of_draws_is_that_of_the_closed_form(levels):
    """Var = (between + mean of within / facts) / runs, each with the divisor of what is drawn from."""
    rng = np.random.default_rng(3)
    runs = [np.round(rng.random(size) * (levels - 1)) / (levels - 1) for size in (20, 40, 80, 20, 30)]
    draws = resampled_run_means(runs, 100_000, rng)
    between = np.var([run.mean() for run in runs])
    within = np.mean([run.var() / len(run) for run in runs])
    assert draws.mean() == pytest.approx(np.mean([run.mean() for run in runs]), abs=0.001)
    assert draws.var() == pytest.approx((between + within) / len(runs), rel=0.03)


def test_draws_of_facts_have_the_binomial_distribution():
    draws = resampled_means(np.array([1.0, 0.0, 1.0, 1.0]), 200_000, np.random.default_rng(4))
    expected = [math.comb(4, hits) * 0.75**hits * 0.25 ** (4 - hits) for hits in range(5)]
    found = [float((draws == hits / 4).mean()) for hits in range(5)]
    assert found == pytest.approx(expected, abs=0.005)


def test_runs_that_are_all_the_same_have_an_interval_of_no_width():
    alike = estimate([np.ones(10)] * 5)
    assert (alike.mean, alike.low, alike.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("runs", [0, 1, 4])
def test_fewer_than_five_runs_have_no_interval_and_leave_nothing_out(runs):
    few = estimate([np.full(10, 0.5)] * runs)
    assert few.runs == runs
    assert math.isnan(few.low)
    assert not few.has_interval
    assert not few.leaves_out_zero


def test_the_run_is_the_unit_whatever_its_number_of_facts():
    uneven = estimate([np.ones(1000), np.zeros(10), np.zeros(10), np.zeros(10), np.zeros(10)])
    assert uneven.mean == pytest.approx(0.2)
    assert uneven.facts == 1040


def test_the_same_seed_gives_the_same_interval():
    runs = made_up_runs(np.random.default_rng(5))
    assert estimate(runs) == estimate(runs)
    draws = [resampled_run_means(runs, 50, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_the_interval_cuts_off_a_fortieth_at_each_end():
    assert percentile_interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))


@pytest.mark.slow
@pytest.mark.parametrize(("runs", "most"), [(5, 0.18), (10, 0.12), (20, 0.09)])
def test_how_often_arms_that_are_the_same_are_told_apart(runs, most):
    """Paired differences of 1,000 facts in runs whose differences are normal around 0: the rate of false verdicts."""
    rng = np.random.default_rng(7)
    told = []
    for number in range(1000):
        shifts = rng.normal(0, 0.1, size=runs)
        pairs = [
            rng.choice([-1.0, 0.0, 1.0], p=[0.2 - s / 2, 0.6, 0.2 + s / 2], size=1000) for s in shifts.clip(-0.4, 0.4)
        ]
        told.append(estimate(pairs, resamples=1000, seed=number).leaves_out_zero)
    print(f"{runs} pairs: {np.mean(told):.3f}")
    assert np.mean(told) <= most


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runs", "facts", "least", "most"),
    [(5, 50, 0.88, 0.96), (5, 1000, 0.77, 0.90), (10, 50, 0.91, 0.98), (10, 1000, 0.85, 0.94), (20, 1000, 0.89, 0.97)],
)
def test_how_often_the_interval_holds_the_truth(runs, facts, least, most):
    """In simulated sweeps: rates of runs are normal around .7 with a standard deviation of .1."""
    rng = np.random.default_rng(6)
    held = []
    for _ in range(1000):
        rates = np.clip(rng.normal(0.7, 0.1, size=runs), 0, 1)
        found = estimate([(rng.random(facts) < rate).astype(float) for rate in rates], resamples=1000, seed=len(held))
        held.append(found.low <= 0.7 <= found.high)
    print(f"{runs} runs of {facts} facts: {np.mean(held):.3f}")
    assert least <= np.mean(held) <= most
