"""Survival against loops over facts, and the area below it against the curve itself."""

from __future__ import annotations

import numpy as np
import pytest

from edit_lit.measures.survival import Loss, alive, restricted_mean

STEPS = np.array([0, 1, 2, 4, 8, 20, 50])


def random_facts(seed, facts=40):
    rng = np.random.default_rng(seed)
    right_TF = rng.random((len(STEPS), facts)) < 0.8
    right_TF[0] = True
    return right_TF


def lost_at(column, loss):
    """The place of the probe at which a fact is lost, by a walk along its answers."""
    for place in range(1, len(column)):
        confirmed = place + 1 == len(column) or not column[place + 1]
        if not column[place] and (loss is Loss.FIRST or confirmed):
            return place
    return None


@pytest.mark.parametrize("loss", [Loss.FIRST, Loss.CONFIRMED])
def test_survival_is_the_time_to_the_middle_of_the_interval_of_loss(loss):
    right_TF = random_facts(0)
    found = restricted_mean(STEPS, right_TF, loss=loss)
    for fact, column in enumerate(right_TF.T):
        place = lost_at(column, loss)
        time = 50.0 if place is None else (STEPS[place - 1] + STEPS[place]) / 2
        assert found[fact] == pytest.approx(time / 50)


@pytest.mark.parametrize("horizon", [50, 20, 13, 3, 1])
def test_survival_up_to_a_horizon_is_a_fine_sum_below_the_lines(horizon):
    right_TF = random_facts(1)
    fine = np.linspace(0, horizon, 20_001)
    for loss in Loss:
        found = restricted_mean(STEPS, right_TF, horizon, loss)
        states = alive(right_TF, loss).astype(float)
        for fact in range(right_TF.shape[1]):
            line = np.interp(fine, STEPS, states[:, fact])
            area = ((line[1:] + line[:-1]) / 2).sum() * (fine[1] - fine[0])
            assert found[fact] == pytest.approx(area / horizon, abs=1e-3)


def test_the_curve_of_first_losses_is_kaplan_and_meier_s_on_the_grid():
    right_TF = random_facts(2)
    at_risk, survival, product = right_TF.shape[1], [1.0], 1.0
    gone = [lost_at(column, Loss.FIRST) for column in right_TF.T]
    for place in range(1, len(STEPS)):
        events = gone.count(place)
        product *= 1 - events / at_risk if at_risk else 1
        at_risk -= events
        survival.append(product)
    np.testing.assert_allclose(alive(right_TF).mean(axis=1), survival)
    area = np.trapezoid(survival, STEPS) / 50
    assert restricted_mean(STEPS, right_TF).mean() == pytest.approx(area)


def test_a_fact_that_comes_back_is_alive_again_only_where_that_counts():
    right_TF = np.array([[1, 0, 1, 1]], dtype=bool).T
    steps = np.array([0, 10, 20, 30])
    assert alive(right_TF, Loss.FIRST)[:, 0].tolist() == [True, False, False, False]
    assert alive(right_TF, Loss.CONFIRMED).all()
    assert restricted_mean(steps, right_TF, loss=Loss.CURRENT)[0] == pytest.approx(2 / 3)
    assert restricted_mean(steps, right_TF)[0] == pytest.approx(5 / 30)


def test_a_failure_at_the_last_probe_is_a_loss_though_nothing_confirms_it():
    right_TF = np.array([[1, 1, 0]], dtype=bool).T
    assert restricted_mean(np.array([0, 10, 20]), right_TF, loss=Loss.CONFIRMED)[0] == pytest.approx(0.75)
