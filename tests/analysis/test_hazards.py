"""A regression on first losses against simulated hazards and against a maximum of the likelihood found by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import studies
from made_sweeps import Answers, requests, write_sweep

from edit_lit.analysis import hazards_table as tables
from edit_lit.analysis.collect import collect
from edit_lit.analysis.designs import Design, well_posed
from edit_lit.analysis.fact_curves import FactCurve
from edit_lit.analysis.hazards import fit, flaw
from edit_lit.analysis.hazards_table import hazards_table
from edit_lit.analysis.person_probes import person_probes
from edit_lit.analysis.study import Study
from edit_lit.analysis.sweep import Sweep
from edit_lit.drift.rows import FACT, NO_LAYER, DriftRow, write_rows
from edit_lit.drift.rows import FOLDER as DRIFT
from edit_lit.facts.request import fact_hash
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


def with_covariates(study, more):
    """The same with further covariates of each run, made of the ones it has."""
    results = [replace(result, covariates={**result.covariates, **more(result)}) for result in study.results]
    return replace(study, results=results)


def test_covariates_that_others_determine_or_that_do_not_vary_are_left_out_and_change_nothing():
    pytest.importorskip("statsmodels", reason="pip install 'edit_lit[stats]'")

    def more(result):
        known, rough = result.covariates, result.trial.labels["training"] == "rough"
        same = np.full(len(known["margin"]), 0.1)
        # To the rounding of single precision, as numbers of a model come.
        near = (3 - 2 * known["margin"] + known["noise"]).astype(np.float32).astype(np.float64)
        of_arm = same * (3 if rough else 7)
        lacked = {"seldom": known["noise"]} if rough else {}
        return {
            "sum": near,
            "of the arm": of_arm,
            "same": same,
            "same but for rounding": same * (1 + 1e-7 * near),
            **lacked,
        }

    plain, _ = hazards_table(simulated())
    table, why = hazards_table(with_covariates(simulated(), more))
    assert not why
    assert table.rows == plain.rows
    assert table.records == [pytest.approx(record) for record in plain.records]
    determined = "determined by the covariates above it, the interval and the arm"
    assert table.notes[-2] == (
        "left out: seldom (not known of every fact); same (the same for all facts); same but for rounding (the same "
        f"for all facts); sum ({determined}); of the arm ({determined})"
    )
    assert table.notes[-1] == plain.notes[-1]
    none, why = hazards_table(
        with_covariates(simulated(), lambda result: dict.fromkeys(("margin", "noise"), more(result)["of the arm"]))
    )
    assert not none.rows
    assert why == "which edits are lost first is not regressed: no covariate differs between facts of an arm"


def test_a_covariate_that_the_other_runs_cannot_tell_apart_predicts_nothing_of_the_one_left_out():
    pytest.importorskip("statsmodels", reason="pip install 'edit_lit[stats]'")

    def more(result):
        chosen = result.trial.labels == {"training": "rough", "seed": "3"}
        return {"odd": result.covariates["noise" if chosen else "margin"]}

    study = simulated()
    place = [result.trial.labels for result in study.finished].index({"training": "rough", "seed": "3"})
    table = well_posed(person_probes(with_covariates(study, more)).informative())
    assert table.names == ("margin", "noise", "odd")
    alone = fit(well_posed(person_probes(study).informative()))
    assert fit(table).gains[place] == pytest.approx(alone.gains[place], abs=1e-9)


def test_intercepts_that_determine_each_other_are_no_harm():
    # As where each arm is probed at steps of its own, so that an interval says the arm.
    study = simulated()
    results = []
    for result in study.results:
        curve = result.curves[Pool.EDITED]
        steps = curve.steps + (result.trial.labels["training"] == "rough")
        fates = replace(curve.fates, steps=steps)
        results.append(replace(result, curves={Pool.EDITED: replace(curve, steps=steps, fates=fates)}))
    table = person_probes(replace(study, results=results)).informative()
    full, plain = Design.of(table).columns(table)
    assert plain.shape[1] == len(np.unique(table.interval_R))
    assert np.linalg.matrix_rank(full) == full.shape[1]


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


def drift_rows(facts):
    """What a run's drift says of some facts: numbers of two layers, and of none."""
    rng = np.random.default_rng(5)
    measures = {"key_norm": (1, 2), "write_norm": (1, 2), "nearest_training_key": (1, 2)}
    measures |= {f"texts_naming_{name}": (NO_LAYER,) for name in ("subject", "new_object", "old_object")}
    return [
        DriftRow(0, FACT, measure, layer, float(rng.random()), "edited", None, fact_hash(request))
        for measure, layers in measures.items()
        for layer in layers
        for request in facts
    ] + [DriftRow(0, "key", "cosine", 1, 1.0, "edited", "subject", fact_hash(facts[0]))]


@pytest.fixture
def swept(tmp_path):
    return write_sweep(tmp_path / "s", {"seed": ["0", "1"]}, ["seed"], lambda _: Answers(0.3))


def test_covariates_of_keys_and_texts_come_from_the_drift(swept):
    for place, trial in enumerate(Sweep.read(swept).trials):
        facts = requests(12, 1000 * place)
        # In another order than the requests', and of a fact that the edit did not make right besides.
        rows = drift_rows(facts)[::-1]
        write_rows(trial.run / DRIFT, 0, rows)
        write_rows(trial.run / DRIFT, 10, [replace(row, step=10, value=9.0) for row in rows[:1]])
        result = collect(Sweep.read(swept))[place]
        assert len(result.curves[Pool.EDITED].facts) == 12
        for number, fact in enumerate(facts):
            name = fact_hash(fact)
            of = {(row.measure, row.layer): row.value for row in rows if row.fact == name and row.part == FACT}
            expected = {
                "norm of the key": (of["key_norm", 1] ** 2 + of["key_norm", 2] ** 2) ** 0.5,
                "size of the edit's write at the key": (of["write_norm", 1] ** 2 + of["write_norm", 2] ** 2) ** 0.5,
                "cosine of the key to the nearest training key": (
                    of["nearest_training_key", 1] + of["nearest_training_key", 2]
                )
                / 2,
                "training texts that name the subject, share": of["texts_naming_subject", NO_LAYER],
                "training texts that name the new object, share": of["texts_naming_new_object", NO_LAYER],
                "training texts that name the old object, share": of["texts_naming_old_object", NO_LAYER],
            }
            at = result.curves[Pool.EDITED].facts.index(name)
            assert {key: result.covariates[key][at] for key in expected} == pytest.approx(expected), number
    table = person_probes(Study(Sweep.read(swept), collect(Sweep.read(swept)), Rule.EXACT))
    assert set(expected) <= set(table.names)


def test_a_covariate_that_a_run_or_a_fact_lacks_is_left_out_by_name(swept, caplog):
    first, second = (trial.run / DRIFT for trial in Sweep.read(swept).trials)

    def known():
        table = person_probes(Study(Sweep.read(swept), collect(Sweep.read(swept)), Rule.EXACT))
        assert "margin after the edit, nats" in table.names
        return {name for name in table.names if "key" in name}, {line for line in table.left_out if "key" in line}

    none = {
        f"{name} (not known of every fact)"
        for name in (
            "size of the edit's write at the key",
            "norm of the key",
            "cosine of the key to the nearest training key",
        )
    }
    assert known() == (set(), set())
    write_rows(first, 0, drift_rows(requests(12)))
    assert known() == (set(), none)
    # As where drift reads fewer prompts than there are edits.
    write_rows(second, 0, drift_rows(requests(11, 1000)))
    assert known() == (set(), none)
    write_rows(second, 0, drift_rows(requests(12, 1000)))
    assert len(known()[0]) == 3
    (second / "step_000000000.parquet").write_bytes(b"PAR1")
    assert known() == (set(), none)
    assert "step_000000000.parquet is no whole record of the drift" in caplog.text
