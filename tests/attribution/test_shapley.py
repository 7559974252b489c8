"""Shapley's and Owen's values against all orders, one by one."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from edit_lit.attribution.groups import Group
from edit_lit.attribution.shapley import sampled_values, shapley_values, smallest_sets, subsets
from edit_lit.attribution.verdict import Verdict, verdict_of


def game(players, seed=0):
    """A random value for each set."""
    values = torch.randn(2**players, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values, dict(zip(subsets(players), values, strict=True))


def mean_added(known, orders, players):
    added = torch.zeros(players, 3, dtype=torch.float64)
    for order in orders:
        for place, player in enumerate(order):
            added[player] += known[frozenset(order[: place + 1])] - known[frozenset(order[:place])]
    return added / len(orders)


@pytest.mark.parametrize("players", [1, 2, 3, 4, 5])
def test_exact_values_are_means_over_all_orders(players):
    values, known = game(players)
    expected = mean_added(known, list(permutations(range(players))), players)
    torch.testing.assert_close(shapley_values(values), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(shapley_values(values).sum(0), values[-1] - values[0], rtol=0, atol=1e-12)


def test_no_player_has_nothing():
    assert shapley_values(torch.ones(1, 2)).shape == (0, 2)


def test_sampled_values_come_to_owen_s_and_their_error_covers_them():
    coalitions = [[0, 1], [2], [3, 4]]
    _, known = game(5)
    orders = [
        [player for members in order for player in members]
        for groups in permutations(coalitions)
        for order in [
            (a, b, c) for a in permutations(groups[0]) for b in permutations(groups[1]) for c in permutations(groups[2])
        ]
    ]
    expected = mean_added(known, orders, 5)
    drawn = sampled_values(known.__getitem__, coalitions, pairs=400, seed=1)
    assert drawn.shape == (400, 5, 3)
    error = drawn.std(0) / 20
    assert ((drawn.mean(0) - expected).abs() <= 4 * error + 1e-12).all()
    whole = known[frozenset(range(5))] - known[frozenset()]
    torch.testing.assert_close(drawn.sum(1), whole.expand(400, 3), rtol=0, atol=1e-12)


def test_pairs_are_antithetic():
    """Of two players a pair has both orders, so that one pair is exact."""
    values, known = game(2)
    torch.testing.assert_close(sampled_values(known.__getitem__, [[0], [1]], 1)[0], shapley_values(values))
    torch.testing.assert_close(sampled_values(known.__getitem__, [[0, 1]], 1)[0], shapley_values(values))


def test_smallest_sets_are_all_of_the_fewest():
    assert smallest_sets(3, lambda members: bool(members)) == [{0}, {1}, {2}]
    assert smallest_sets(3, lambda members: {0, 2} <= members) == [{0, 2}]
    assert smallest_sets(2, lambda members: True) == [frozenset()]
    assert smallest_sets(2, lambda members: False) == []


@pytest.mark.parametrize(
    ("written", "below", "above", "outside", "verdict", "confidence"),
    [
        (1, 0, 0, 0, Verdict.OVERWRITTEN, 0.5),
        (0, 3, 1, 0, Verdict.KEY_DRIFT, 0.25),
        (0, 1, 3, 0, Verdict.READOUT_DRIFT, 0.25),
        (0, 1, 1, 0, Verdict.MIXED, 0.0),
        (-9, 1, 3, -9, Verdict.READOUT_DRIFT, 0.25),
        (1, 0, 0, 3, Verdict.MIXED, 0.25),
        (0, 0, 0, 3, Verdict.MIXED, 0.5),
        (0, 0, 0, 0, Verdict.MIXED, 0.0),
        (-1, -1, -1, -1, Verdict.MIXED, 0.0),
        (float("nan"), 1, 1, 1, Verdict.MIXED, 0.0),
    ],
)
def test_the_rule(written, below, above, outside, verdict, confidence):
    losses = dict(zip(Group, (written, below, above, outside), strict=True))
    assert verdict_of(losses) == (verdict, pytest.approx(confidence))
