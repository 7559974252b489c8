"""How the facts of a sweep's arms were lost, against the runs' own records."""

from __future__ import annotations

import numpy as np
import pytest
from made_sweeps import STEPS, Answers, write_sweep

from edit_lit.analysis.collect import collect
from edit_lit.analysis.half_lives import half_life_text, with_half_lives
from edit_lit.analysis.quantities import FIRST_LOST, MORE, RMST
from edit_lit.analysis.study import Study
from edit_lit.analysis.sweep import Sweep
from edit_lit.analysis.tables import arms_table
from edit_lit.measures.fates import FATES, Fate
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import Rule
from edit_lit.reports.run import Run

RATES = {"slow": 0.1, "fast": 0.6}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = write_sweep(
        tmp_path_factory.mktemp("sweep"),
        {"training": ["slow", "fast"], "seed": list("01234")},
        ["seed"],
        lambda labels: Answers(RATES[labels["training"]]),
        facts=40,
    )
    sweep = Sweep.read(folder)
    return folder, Study(sweep, collect(sweep), Rule.EXACT)


def walked(run):
    """For each fact of a run that counts: the fates it had."""
    fates = run.fates(Pool.EDITED, Rule.EXACT)
    return [[FATES[place] for place in column] for column in fates.fate_TF.T]


def test_first_losses_by_kind_are_those_of_the_runs(made):
    folder, study = made
    assert study.horizon == STEPS[-1]
    for arm, first in zip(study.arms, (0, 5), strict=True):
        runs = [Run.read(folder / "trials" / f"{number:08x}" / "version_0") for number in range(first, first + 5)]
        total = 0.0
        for fate, quantity in FIRST_LOST.items():
            expected = [
                np.mean([next((f for f in fates if f is not Fate.ALIVE), None) is fate for fates in walked(run)])
                for run in runs
            ]
            found = study.estimate(arm, quantity)
            assert found.values == pytest.approx(expected)
            total += found.mean
        never = [np.mean([set(fates) == {Fate.ALIVE} for fates in walked(run)]) for run in runs]
        assert total == pytest.approx(1 - np.mean(never))
    early = study.finished[0].sample(FIRST_LOST[Fate.REVERTED].name, STEPS[1])
    assert early.mean <= study.finished[0].sample(FIRST_LOST[Fate.REVERTED].name, STEPS[-1]).mean


def test_half_lives_are_those_of_the_mean_curve(made):
    folder, study = made
    slow, fast = study.arms
    assert half_life_text(study, slow) == f"> {STEPS[-1]}"
    runs = [Run.read(folder / "trials" / f"{number:08x}" / "version_0") for number in range(5, 10)]
    left = [
        np.mean([np.mean([set(fates[: place + 1]) == {Fate.ALIVE} for fates in walked(run)]) for run in runs])
        for place in range(len(STEPS))
    ]
    step = next(step for step, share in zip(STEPS, left, strict=True) if share <= 0.5)
    assert half_life_text(study, fast) == str(step)
    table = with_half_lives(study, arms_table(study, "more", "", (RMST, *MORE)))
    assert [row[-1] for row in table.rows] == [f"> {STEPS[-1]}", str(step)]
    assert table.header[-1] == "half-life"
    assert len(table.header) == len(table.rows[0])
