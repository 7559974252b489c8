"""Cumulative incidence against a loop over facts and against statsmodels; McNemar against all outcomes of coins."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from edit_lit.measures.fates import FATES, Fates
from edit_lit.measures.paired_fates import PairedFates
from edit_lit.measures.survival import alive, cumulative_incidence

PROBES, KINDS = 7, 3


def random_losses(seed, facts=200, censored=0.3):
    """Losses at probes from 1 on; some facts were not seen to the end."""
    rng = np.random.default_rng(seed)
    place = rng.integers(1, PROBES, facts)
    kind = rng.integers(0, KINDS, facts)
    kind[rng.random(facts) < censored] = -1
    return place, kind


def walked(place, kind):
    """The estimator's own definition, a probe and a fact at a time."""
    survival, incidence = [], [[] for _ in range(KINDS)]
    alive_before, so_far = 1.0, [0.0] * KINDS
    for probe in range(PROBES):
        at_risk = sum(at >= probe for at in place)
        hazard = 0.0
        for way in range(KINDS):
            lost = sum(at == probe and how == way for at, how in zip(place, kind, strict=True))
            share = lost / at_risk if at_risk else 0.0
            so_far[way] += alive_before * share
            hazard += share
            incidence[way].append(so_far[way])
        alive_before *= 1 - hazard
        survival.append(alive_before)
    return survival, incidence


@pytest.mark.parametrize("seed", range(3))
def test_incidence_is_that_of_a_plain_loop_and_sums_to_what_is_lost(seed):
    place, kind = random_losses(seed)
    found = cumulative_incidence(place, kind, PROBES, KINDS)
    survival, incidence = walked(place, kind)
    np.testing.assert_allclose(found.survival_T, survival)
    np.testing.assert_allclose(found.by_kind_KT, incidence)
    np.testing.assert_allclose(found.by_kind_KT.sum(axis=0), 1 - found.survival_T)


def test_incidence_is_that_of_statsmodels():
    survfunc = pytest.importorskip("statsmodels.duration.survfunc", reason="pip install 'edit_lit[stats]'")
    place, kind = random_losses(5)
    found = cumulative_incidence(place, kind, PROBES, KINDS)
    theirs = survfunc.CumIncidenceRight(place, kind + 1)
    times = theirs.times.astype(int)
    for way in range(KINDS):
        np.testing.assert_allclose(found.by_kind_KT[way, times], theirs.cinc[way])


def test_without_early_ends_they_are_plain_shares():
    rng = np.random.default_rng(0)
    fate_TF = np.where(rng.random((PROBES, 90)) < 0.8, 0, rng.integers(1, 4, (PROBES, 90))).astype(np.int8)
    fate_TF[0] = 0
    made = Fates(np.arange(PROBES), fate_TF, np.zeros((PROBES, 90)), np.arange(90))
    place, kind = made.first_losses()
    found = cumulative_incidence(place, kind, PROBES, len(FATES))
    np.testing.assert_allclose(found.survival_T, alive(made.alive_TF).mean(axis=1))
    for probe, way in product(range(PROBES), range(len(FATES))):
        lost = [
            next((fate for fate in column[: probe + 1] if fate), 0) == way if way else False for column in fate_TF.T
        ]
        assert found.by_kind_KT[way, probe] == pytest.approx(sum(lost) / 90)


def test_mcnemar_counts_all_outcomes_of_fair_coins():
    for first, second in product(range(7), range(5)):
        flips = list(product((0, 1), repeat=first + second))
        extreme = min(first, second)
        as_extreme = sum(min(sum(flip), len(flip) - sum(flip)) <= extreme for flip in flips)
        assert PairedFates(3, first, second, 4).p == pytest.approx(as_extreme / len(flips))


def test_mcnemar_is_that_of_statsmodels():
    tables = pytest.importorskip("statsmodels.stats.contingency_tables", reason="pip install 'edit_lit[stats]'")
    for first, second in ((0, 0), (9, 2), (1, 30), (5, 5)):
        theirs = tables.mcnemar([[20, first], [second, 8]], exact=True).pvalue
        assert PairedFates(20, first, second, 8).p == pytest.approx(float(theirs))


def test_pairs_are_counted_fact_by_fact():
    first, second = [True, True, False, False, True], [True, False, True, False, False]
    found = PairedFates.of(first, second)
    assert found == PairedFates(both=1, first=2, second=1, neither=1)
    assert found.difference == pytest.approx(np.mean(first) - np.mean(second))
    low, high = found.interval()
    assert low <= found.difference <= high
    rng, pairs = np.random.default_rng(1), np.array([first, second], dtype=float).T
    draws = [np.diff(pairs[rng.integers(5, size=5)].mean(axis=0))[0] for _ in range(4000)]
    assert (-high, -low) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.21)
    assert PairedFates(4, 0, 0, 3).interval() == (0, 0)
    assert PairedFates(0, 0, 0, 0).p == 1
