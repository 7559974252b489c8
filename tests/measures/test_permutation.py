from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from edit_lit.measures.permutation import holm, sign_flip_p


def brute_force(differences):
    observed = abs(sum(differences))
    flips = list(product((-1, 1), repeat=len(differences)))
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in flips]
    return sum(value >= observed - 1e-12 for value in sums) / len(flips)


@pytest.mark.parametrize("pairs", [1, 2, 5, 8, 12])
def test_exact_p_values_are_those_of_all_sign_flips(pairs):
    rng = np.random.default_rng(pairs)
    for differences in (rng.normal(0.5, 1, pairs), rng.integers(-2, 4, pairs) / 10, np.zeros(pairs)):
        assert sign_flip_p(differences) == pytest.approx(brute_force(differences))


def test_p_values_of_many_pairs_are_near_those_of_all_sign_flips():
    differences = np.random.default_rng(0).normal(0.4, 1, 14)
    assert sign_flip_p(differences) == pytest.approx(brute_force(differences), abs=0.005)
    assert sign_flip_p([1.0] * 40) == 1 / 100_000, "what was seen is one of the flips, so that p is never 0"


def test_five_pairs_never_give_less_than_a_sixteenth():
    assert sign_flip_p([1.0, 2.0, 3.0, 4.0, 100.0]) == 0.0625


def test_holm_s_adjustment_is_that_of_his_paper():
    assert holm([0.01, 0.02, 0.03, 0.005]) == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
