"""A regression on first losses against simulated hazards and against a maximum of the likelihood found by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import studies
from made_sweeps import Answers, write_sweep

from edit_lit.analysis import hazards_table as tables
from edit_lit.analysis.collect import collect
from edit_lit.analysis.fact_curves import FactCurve
from edit_lit.analysis.hazards import fit, flaw
from edit_lit.analysis.hazards_table import hazards_table
from edit_lit.analysis.person_probes import person_probes
from edit_lit.analysis.study import Study
from edit_lit.analysis.sweep import Sweep
from edit_lit.measures.fates import Fates
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import Rule

STEPS = np.array([0, 5, 10, 20, 40, 80])
RUNS = tuple("01234")
SLOPE = 0.9


def simulated(slope=SLOPE, facts=40, seed=0, runs=RUNS, arms=("gentle", "rough")):
    """Facts that are lost after exponential times, whose rate hangs on one covariate, seen at probes alone."""
    rng = np.random.default_rng(seed)

    def numbers(labels):
        return {"retention": studies.sample([1.0] * facts)}

    made = studies.study({"training": arms, "seed": runs}, numbers)
    results = []
    for result in made.results:
        strength, noise = rng.normal(size=(2, facts))
        rate = 0.01 * (2.0 if result.trial.labels["training"] == "rough" else 1.0) * np.exp(-slope * strength)
        time = rng.exponential(1 / rate)
        fate_TF = np.where(time > STEPS[:, None], 0, 1).astype(np.int8)
        fates = Fates(STEPS, fate_TF, np.zeros(fate_TF.shape), np.arange(facts))
        names = tuple(f"{result.trial.labels['seed']} {number}" for number in range(facts))
        curve = FactCurve(STEPS, fates.alive_TF, names, fates)
        known = {"margin": strength, "noise": noise}
        results.append(replace(result, curves={Pool.EDITED: curve}, covariates=known))
    return replace(made, results=results)


def test_the_table_has_a_row_for_each_interval_that_a_fact_entered_alive():
    study = simulated(facts=10, runs=tuple("01"))
    table = person_probes(study)
    expected = 0
    for result in study.finished:
        right = result.curves[Pool.EDITED].right_TF
        expected += int(sum(right[:-1].all(axis=0) * 0) + sum(right[:place].all(axis=0).sum() for place in range(1, 6)))
    assert len(table) == expected
    lost = sum(int((~result.curves[Pool.EDITED].right_TF[-1]).sum()) for result in study.finished)
    assert table.died_R.sum() == lost
    assert table.names == ("margin", "noise")
    assert table.scales[0] == pytest.approx(
        np.std(np.concatenate([result.covariates["margin"] for result in study.finished]))
    )
    assert "2 covariates" in flaw(table) or "runs with losses" in flaw(table)


def by_newton(died, design):
    """The maximum of Σ d log(1 − exp(−exp(η))) − (1 − d) exp(η), by Newton's method with numeric derivatives of it."""
    params = np.zeros(design.shape[1])
    params[2:] = -1.0
    for _ in range(60):
        rate = np.exp(design @ params)
        surviving = np.exp(-rate)
        residual = died * rate * surviving / (1 - surviving) - (1 - died) * rate
        expected = rate**2 * surviving / (1 - surviving)
        change = np.linalg.solve(design.T @ (design * expected[:, None]), design.T @ residual)
        params += change
        if np.abs(change).max() < 1e-12:
            break
    return params


def test_the_ratios_are_those_of_the_likelihood_s_maximum_and_of_the_simulation():
    pytest.importorskip("statsmodels", reason="pip install 'edit_lit[stats]'")
    table = person_probes(simulated()).informative()
    model = fit(table)
    design = np.concatenate(
        [table.covariates_RC, table.intercepts(np.unique(table.interval_R), np.unique(table.arm_R))], axis=1
    )
    found = by_newton(table.died_R, design)
    assert np.log(list(model.ratio.values())) == pytest.approx(found[:2], abs=1e-5)
    assert np.log(model.ratio["margin"]) == pytest.approx(-SLOPE * table.scales[0], abs=0.15)
    assert model.high["margin"] < 1
    assert model.p["margin"] < 1e-6
    assert model.low["noise"] < 1 < model.high["noise"]
    assert len(model.gains) == 10
    assert np.mean(model.gains) > 0.05
    assert model.losses == table.died_R.sum()


def test_what_does_not_predict_is_said_not_to():
    pytest.importorskip("statsmodels", reason="pip install 'edit_lit[stats]'")
    table, why = hazards_table(simulated(slope=0.0))
    assert not why
    assert "they are not shown to predict which edits are lost first" in table.notes[-1]
    told, _ = hazards_table(simulated())
    assert "they predict which edits are lost first" in told.notes[-1]
    assert [row[0] for row in told.rows] == ["margin", "noise"]
    assert set(told.records[0]) == {"covariate", "sd", "hazard_ratio", "low", "high", "p"}


def test_without_the_library_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(tables, "installed", lambda: False)
    table, why = hazards_table(simulated())
    assert not table.rows
    assert why == "which edits are lost first is not regressed: pip install 'edit_lit[stats]' for it"


def test_too_few_runs_or_losses_are_not_regressed(monkeypatch):
    monkeypatch.setattr(tables, "installed", lambda: True)
    _, why = hazards_table(simulated(runs=tuple("01")))
    assert why == "which edits are lost first is not regressed: 4 runs with losses, and it takes 5"
    _, why = hazards_table(simulated(facts=1, runs=tuple("012"), seed=3))
    assert "covariates take 10" in why or "runs with losses" in why


def test_an_interval_without_losses_has_no_intercept_to_find():
    study = simulated(facts=40)
    table = person_probes(study).informative()
    for codes in (table.interval_R, table.arm_R):
        for code in np.unique(codes):
            assert 0 < table.died_R[codes == code].mean() < 1


def test_covariates_come_from_the_records(tmp_path):
    folder = write_sweep(tmp_path / "s", {"editor": ["rome", "none"], "seed": ["0"]}, ["seed"], lambda _: Answers(0.3))
    results = collect(Sweep.read(folder))
    edited, control = results
    assert not control.covariates
    curve = edited.curves[Pool.EDITED]
    assert edited.covariates["margin after the edit, nats"] == pytest.approx(curve.fates.margin_TF[0])
    assert set(edited.covariates["paraphrases right after the edit"]) == {1.0}
    assert all(len(values) == len(curve.facts) for values in edited.covariates.values())
    assert person_probes(Study(Sweep.read(folder), results, Rule.EXACT)) is not None
