"""Lost edits are those that retention counts as erased."""

from __future__ import annotations

import math

import pytest
import torch

from edit_lit.analysis.fact_curves import fact_curve
from edit_lit.attribution.losses import find_losses
from edit_lit.measures.outcomes import Outcomes, Pool
from edit_lit.measures.scores import Rule
from edit_lit.reports.run import Run


def outcomes(generator, facts, alternatives=True):
    number = torch.arange(facts)
    nll = torch.rand(facts, 2, generator=generator, dtype=torch.float64)
    exact = (torch.rand(facts, 2, generator=generator) < 0.5).double()
    if not alternatives:
        nll[::3, 1], exact[::3, 1] = math.nan, 0
    return Outcomes(number, number * 0, number * 0, nll=nll, exact=exact, token=exact, first=exact.flip(0))


@pytest.mark.parametrize("rule", [Rule.EXACT, Rule.PROB, Rule.FIRST])
@pytest.mark.parametrize("asked_before", [True, False])
@pytest.mark.parametrize("alternatives", [True, False])
def test_lost_are_those_that_the_curve_of_the_run_loses(rule, asked_before, alternatives, tmp_path):
    generator = torch.Generator().manual_seed(3)
    before, baseline, now = (outcomes(generator, 60, alternatives) for _ in range(3))
    stages = {0: baseline, 9: now} | ({-1: before} if asked_before else {})
    run = Run(tmp_path, {Pool.EDITED: stages})
    losses = find_losses(before if asked_before else None, baseline, now, rule)
    curve = fact_curve(run, Pool.EDITED, rule, [str(number) for number in range(60)])
    assert [str(number) for number in losses.numbers] == [
        name for name, right in zip(curve.facts, curve.right_TF[-1], strict=True) if not right
    ]
    last = run.transitions(Pool.EDITED, rule)[9]
    assert len(losses.numbers) == last.erased > 0
    assert losses.took == last.baseline_successes == len(curve.facts)
    assert losses.never_took == last.emergent + last.impossible
    assert losses.already_right == (last.already_right or 0)


def test_an_answer_that_is_no_number_is_not_lost():
    generator = torch.Generator().manual_seed(3)
    baseline, now = outcomes(generator, 4), outcomes(generator, 4)
    baseline.exact[:, 0], now.exact[:, 0], now.nll[1, 0] = 1, 0, math.nan
    assert find_losses(None, baseline, now).numbers == (0, 2, 3)
