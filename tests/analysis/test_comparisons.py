"""Differences between arms, effects of axes, and arms matched by loss, on numbers that are made up."""

from __future__ import annotations

import math

import numpy as np
import pytest
from studies import ACCURACY, INTRINSIC, LOSS, RETENTION, SEEDS, sample, study

from edit_lit.analysis.bootstrap import Estimate
from edit_lit.analysis.differences import Difference, differences
from edit_lit.analysis.effects import effects
from edit_lit.analysis.matching import match_by_loss
from edit_lit.analysis.quantities import RMST
from edit_lit.analysis.tables import arms_table, differences_table, left_out_table
from edit_lit.measures.permutation import holm
from edit_lit.measures.scores import Rule
from edit_lit.utilities.errors import ConfigError

TWO = {"editor": ["memit", "rome"], "seed": SEEDS}


def compared(made, quantities=(RETENTION,), reference=0):
    others = [arm for arm in made.arms if arm != made.arms[reference]]
    return differences(made, made.arms[reference], others, quantities)


def test_a_difference_is_over_the_facts_that_both_runs_have_in_any_order():
    def numbers(labels):
        if labels["editor"] == "memit":
            return {"retention": sample([1, 0, 1, 1], ["a", "b", "c", "only here"])}
        return {"retention": sample([1, 0, 0, 1, 1], ["c", "a", "b", "only there", "nor here"])}

    (found,) = compared(study(TWO, numbers))
    assert found.estimate.values == pytest.approx([-1 / 3] * 5)
    assert (found.estimate.runs, found.estimate.facts) == (5, 15)


def test_runs_are_paired_by_replicate_and_one_without_a_partner_is_left_out():
    rates = {"memit": [0.1, 0.2, 0.3, 0.4, 0.5], "rome": [0.4, 0.6, 0.5, 0.9, None]}

    def numbers(labels):
        rate = rates[labels["editor"]][int(labels["seed"])]
        return None if rate is None else {"retention": sample([rate])}

    (found,) = compared(study(TWO, numbers))
    assert found.estimate.values == pytest.approx([0.3, 0.4, 0.2, 0.5])
    assert found.verdict == "too few runs"


@pytest.mark.parametrize(("seeds", "verdict"), [("01234", "interval only"), ("0123", "too few runs"), ("", "no pair")])
def test_only_five_pairs_or_more_are_tested_however_far_apart_they_are(seeds, verdict):
    def numbers(labels):
        if labels["editor"] == "rome" and labels["seed"] not in seeds:
            return {"downstream_loss": 1.0}
        return {"retention": sample([float(labels["editor"] == "memit")] * 50)}

    made = study(TWO, numbers)
    (found,) = compared(made)
    assert found.verdict == verdict
    assert found.leans == (verdict == "interval only")
    assert not found.differs
    assert (found.p is None) == (verdict != "interval only")
    table = differences_table(made, [found], "memit", [])
    (row,) = table.rows
    assert any("nothing was tested" in note for note in table.notes) == (verdict != "interval only")
    assert ("[" in row[2]) == (verdict == "interval only")


@pytest.mark.parametrize(
    ("low", "adjusted", "verdict"),
    [
        (0.1, 0.05, "differs"),
        (0.1, 0.06, "interval only"),
        (-0.1, 0.01, "not told apart"),
        (0.1, None, "interval only"),
    ],
)
def test_what_differs_does_so_by_its_interval_and_by_the_adjusted_test(low, adjusted, verdict):
    found = Difference((), RETENTION, Estimate((0.2,) * 6, 60, low, 0.3), 0.01, adjusted)
    assert found.verdict == verdict
    assert found.differs == (verdict == "differs")


def test_arms_that_do_not_differ_are_not_told_apart():
    rng = np.random.default_rng(0)
    (found,) = compared(study(TWO, lambda labels: {"retention": sample((rng.random(50) < 0.5).astype(float))}))
    assert found.verdict == "not told apart"


def test_p_values_are_adjusted_for_all_comparisons_of_the_table():
    rng = np.random.default_rng(1)
    axes = {"editor": ["a", "b", "c", "d"], "seed": SEEDS}
    made = study(axes, lambda _: {"retention": sample(rng.random(20)), "downstream_loss": rng.random()})
    found = compared(made, (RETENTION, LOSS))
    assert len(found) == 6
    assert [item.adjusted for item in found] == pytest.approx(holm([item.p for item in found]))
    notes = " ".join(differences_table(made, found, "a", []).notes)
    assert "6 comparisons were tested" in notes


def test_few_runs_are_shown_one_by_one_and_failed_ones_apart():
    def numbers(labels):
        value = 0.25 * int(labels["seed"])
        return None if labels == {"editor": "rome", "seed": "4"} else {"retention": sample([value] * 4)}

    made = study(TWO, numbers)
    memit, rome = arms_table(made, "arms", "", (RETENTION, LOSS)).rows
    assert memit[:2] == ("memit", "5")
    assert memit[2].startswith("50.0 [")
    assert rome == ("rome", "4 of 5 (1 failed)", "0.0, 25.0, 50.0, 75.0")
    assert left_out_table(made).rows == [("0009", "editor=rome, seed=4", "failed", "OSError: disk full")]


def test_runs_that_lack_a_number_are_counted():
    def numbers(labels):
        lacks = labels == {"editor": "rome", "seed": "5"}
        return {"downstream_loss": 1.0} if lacks else {"downstream_loss": 1.0, "retention": sample([1, 0])}

    axes = {"editor": ["memit", "rome"], "seed": [*SEEDS, "5"]}
    memit, rome = arms_table(study(axes, numbers), "arms", "", (RETENTION,)).rows
    assert "runs" not in memit[2]
    assert rome[1] == "6"
    assert rome[2].endswith("(5 of 6 runs)")


@pytest.mark.parametrize("shared", [True, False])
def test_a_sweep_whose_runs_share_their_facts_says_so(shared):
    def numbers(labels):
        return {"retention": sample([1, 0], [f"{'' if shared else labels['seed']}{n}" for n in "ab"])}

    notes = " ".join(study(TWO, numbers).notes())
    assert ("share their facts" in notes) == shared


def test_the_effect_of_an_axis_is_that_of_balanced_pairs_alone():
    """An additive model with a failed trial: other axes and seeds cancel in every pair."""
    axes = {"editor": ["memit", "rome", "none"], "tuning": ["full", "lora", "dora"], "seed": SEEDS}
    shift = {"memit": 0.0, "rome": -0.2, "none": 0.3, "full": 0.0, "lora": 0.1, "dora": 0.15}

    def numbers(labels):
        if (labels["editor"], labels["tuning"]) == ("none", "full") or labels == _FAILED:
            return None
        value = 0.5 + shift[labels["editor"]] + shift[labels["tuning"]] + 0.01 * int(labels["seed"])
        return {"retention": sample([value])}

    made = study(axes, numbers)
    of_editor = {item.label: item for item in effects(made, "editor", RETENTION)}
    assert of_editor["rome"].estimate.values == pytest.approx([-0.2] * 5)
    assert of_editor["none"].estimate.mean == pytest.approx(0.3)
    assert (of_editor["rome"].pairs, of_editor["rome"].cells, of_editor["rome"].complete) == (14, 3, False)
    assert (of_editor["none"].pairs, of_editor["none"].cells, of_editor["none"].complete) == (10, 2, True)
    of_tuning = {item.label: item.estimate.mean for item in effects(made, "tuning", RETENTION)}
    assert of_tuning == pytest.approx({"lora": 0.1, "dora": 0.15})


_FAILED = {"editor": "rome", "tuning": "lora", "seed": "2"}


def test_an_effect_is_the_mean_of_a_plain_loop_over_pairs():
    rng = np.random.default_rng(2)
    axes = {"x": ["0", "1"], "y": ["0", "1", "2"], "seed": SEEDS}
    values = {}

    def numbers(labels):
        values[tuple(labels.values())] = rng.random()
        return {"downstream_loss": values[tuple(labels.values())], "retention": sample([1])}

    (found,) = effects(study(axes, numbers), "x", LOSS)
    loop = [np.mean([values["1", y, seed] - values["0", y, seed] for y in "012"]) for seed in SEEDS]
    assert found.estimate.values == pytest.approx(loop)


LOSSES = {
    ("full", "1e-3"): 1.0, ("full", "1e-4"): 1.2, ("full", "1e-5"): 1.8,
    ("lora", "1e-3"): 0.7, ("lora", "1e-4"): 1.19, ("lora", "1e-5"): 1.5,
    ("dora", "1e-3"): 1.5, ("dora", "1e-4"): 2.0, ("dora", "1e-5"): 3.0,
}  # fmt: skip
RATES = {"tuning": ["full", "lora", "dora"], "lr": ["1e-3", "1e-4", "1e-5"], "seed": SEEDS}


def matched():
    def numbers(labels):
        kept = [0, 0] if labels["tuning"] == "dora" else [1, 1]
        return {"retention": sample(kept), "downstream_loss": LOSSES[labels["tuning"], labels["lr"]]}

    return study(RATES, numbers)


def test_arms_are_matched_by_the_nearest_mean_loss_and_bad_matches_are_not_compared():
    made = matched()
    reference = made.reference("full, lr=1e-4")
    matches = match_by_loss(made, "lr", reference)
    assert [(dict(match.arm)["tuning"], match.label) for match in matches] == [
        ("full", "1e-4"),
        ("lora", "1e-4"),
        ("dora", "1e-3"),
    ]
    assert [round(match.away, 6) for match in matches] == [0, -0.01, 0.3]
    assert [match.is_near for match in matches] == [True, True, False]
    flaws = {match.arm: match.flaw for match in matches}
    found = differences(made, reference, [match.arm for match in matches[1:]], (RETENTION,), flaws)
    assert found[0].p is not None
    assert found[1].estimate.leaves_out_zero
    assert (found[1].p, found[1].adjusted, found[1].differs) == (None, None, False)
    assert found[1].verdict == "not compared: no downstream loss within 5%, nearest +0.300"
    notes = differences_table(made, found, "full", matches).notes
    assert any(
        "lora, lr=1e-4 was chosen (of 1e-4, 1e-3, 1e-5): its downstream loss is 1.190, -0.010" in n for n in notes
    )
    assert any("dora, lr=1e-3" in note and "not compared" in note for note in notes)


def test_an_arm_without_a_loss_is_not_compared():
    def numbers(labels):
        loss = {} if labels["tuning"] == "dora" else {"downstream_loss": LOSSES[labels["tuning"], labels["lr"]]}
        return {"retention": sample([1, 0]), **loss}

    made = study(RATES, numbers)
    matches = match_by_loss(made, "lr", made.arms[0])
    assert [match.flaw for match in matches][-1] == "no downstream loss to match by"
    with pytest.raises(ConfigError, match="--match lr: .* arm tuning=dora, lr=1e-3 logged no downstream"):
        match_by_loss(made, "lr", made.reference("dora, 1e-3"))


@pytest.mark.parametrize("axis", ["seed", "typo"])
def test_only_axes_of_arms_can_be_matched(axis):
    with pytest.raises(ConfigError, match=f"--match '{axis}' is no axis on which arms differ. These are: tuning, lr"):
        match_by_loss(matched(), axis, matched().arms[0])


def test_an_arm_is_found_by_name_or_by_labels():
    made = matched()
    assert made.reference(None) == made.arms[0]
    for given in ("tuning=lora, lr=1e-4", "lora,1e-4", " lr=1e-4, lora "):
        assert dict(made.reference(given)) == {"tuning": "lora", "lr": "1e-4"}
    with pytest.raises(ConfigError, match="--against 'lora' could be 3 arms. Name one of: tuning=lora, lr=1e-3;"):
        made.reference("lora")
    with pytest.raises(ConfigError, match="--against 'memit' is no arm of the sweep. Name one of"):
        made.reference("memit")


def test_an_arm_of_which_nothing_is_finished_is_no_reference():
    made = study(TWO, lambda labels: {"retention": sample([1.0])} if labels["editor"] == "rome" else None)
    assert dict(made.reference(None)) == {"editor": "rome"}
    with pytest.raises(ConfigError, match="--against 'memit': none of its trials is finished"):
        made.reference("memit")


def test_survival_counts_up_to_the_earliest_last_probe():
    def last_step(labels):
        return 100 if labels == {"editor": "rome", "seed": "1"} else 200

    made = study(TWO, lambda labels: {"retention": sample([1, 0])}, last_step=last_step)
    assert made.horizon == 100
    assert made.estimate(made.arms[1], RMST).values == pytest.approx([0.875, 0.75, 0.875, 0.875, 0.875])
    notes = " ".join(made.notes())
    assert "up to step 100" in notes
    assert "runs end at different steps, 100 to 200" in notes


def test_an_arm_is_called_by_the_axes_on_which_arms_differ():
    numbers = {"retention": sample([1.0])}
    axes = {"editor": ["memit", "rome"], "model": ["small"], "seed": SEEDS}
    made = study(axes, lambda _: numbers)
    assert [made.arm_title(arm) for arm in made.arms] == ["memit", "rome"]
    made = study({**axes, "lr": ["1e-4", "5e-5"]}, lambda _: numbers)
    assert made.arm_title(made.arms[0]) == "editor=memit, lr=1e-4"
    (only,) = study({"model": ["small"], "seed": SEEDS}, lambda _: numbers).arms
    assert made.sweep.arm_name(only) == "all trials"


def test_a_sweep_with_nothing_finished_is_refused():
    with pytest.raises(ConfigError, match=r"none of the trials of the sweep in s is finished \(10 failed\)"):
        study(TWO, lambda _: None)


def test_a_rule_that_judges_nothing_is_refused():
    with pytest.raises(ConfigError, match="--rule prob: no fact of the finished trials can be judged by it"):
        study(TWO, lambda _: {"downstream_loss": 1.0, "downstream_accuracy": 0.5}, rule=Rule.PROB)


def test_what_no_trial_has_is_no_column():
    made = study(TWO, lambda _: {"retention": sample([1.0]), "downstream_accuracy": 0.5})
    assert made.present((RETENTION, INTRINSIC, LOSS, ACCURACY)) == [RETENTION, ACCURACY]
    assert math.isnan(made.estimate(made.arms[0], LOSS).mean)
