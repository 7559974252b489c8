"""Demands are read as they are written, and refused where they would let any model pass."""

from __future__ import annotations

import pytest

from edit_lit.utilities.errors import ConfigError
from edit_lit.verification import Demand, Demands, Verification
from edit_lit.verification.demand import Bound


@pytest.mark.parametrize(
    ("text", "sign", "share"),
    [(">= .95", ">=", 0.95), ("<=5%", "<=", 0.05), (" > 0 ", ">", 0.0), ("< 100 %", "<", 1.0), (">= 1", ">=", 1.0)],
)
def test_bounds_as_they_are_written(text, sign, share):
    assert Bound.read(text, "x") == Bound(sign, share)


@pytest.mark.parametrize("text", ["", ".95", "=> .95", ">= .95 exact", ">= -1", ">= 1.5", ">= 101 %", ">= nan", "== 1"])
def test_what_is_no_bound_is_refused_by_name(text):
    with pytest.raises(ConfigError, match=r"^demands.edited.exact is "):
        list(Demands(edited=Demand(exact=text)).bounds())


@pytest.mark.parametrize(
    ("text", "below", "at", "above"),
    [
        (">= .5", False, True, True),
        ("> .5", False, False, True),
        ("<= .5", True, True, False),
        ("< .5", True, False, False),
    ],
)
def test_each_sign_means_what_it_says(text, below, at, above):
    bound = Bound.read(text, "x")
    assert [bound.holds(share) for share in (0.49, 0.5, 0.51)] == [below, at, above]


def test_rounding_is_no_reason_to_fall_short():
    mean = (0.1 + 0.2) / 3  # a little more than .1
    assert mean > 0.1
    assert Bound("<=", 0.1).holds(mean)
    assert Bound(">=", mean).holds(0.1)
    assert not Bound("<", 0.1).holds(mean)
    assert not Bound("<=", 0.1).holds(0.1001)


def test_nothing_is_demanded_by_an_empty_file():
    with pytest.raises(ConfigError, match="demands is empty"):
        list(Demands().bounds())
    with pytest.raises(ConfigError, match=r"demands.specificity demands nothing"):
        list(Demands(specificity=Demand()).bounds())


def test_erased_facts_take_an_upper_bound():
    with pytest.raises(ConfigError, match=r"demands.erased.prob is '>= 90 %', which asks for facts to stay"):
        list(Demands(erased=Demand(prob=">= .9")).bounds())


def test_facts_and_baseline_must_be_there():
    with pytest.raises(ConfigError, match=r"demands.generalization is about edited facts, but edited names no source"):
        Verification(Demands(generalization=Demand(exact=">= .5")))
    with pytest.raises(ConfigError, match=r"demands.intrinsic is about intrinsic facts"):
        Verification(Demands(intrinsic=Demand(exact=">= .5")))
