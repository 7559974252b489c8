"""A sweep file gives its trials: products, axes that go together, exclusions; and every mistake has its line."""

from __future__ import annotations

from itertools import product

import pytest
from sweep_samples import AXES, sweep_file

from edit_lit.sweeps.sweep_file import Resources
from edit_lit.sweeps.trials import expand
from edit_lit.utilities.errors import ConfigError


def labels(sweep):
    return [tuple(trial.labels.values()) for trial in expand(sweep).trials]


def test_axes_are_multiplied_and_the_last_is_fastest(tmp_path):
    assert labels(sweep_file(tmp_path)) == list(product(["FullTuning", "LoRA"], ["0", "1", "2"]))


def test_axes_of_one_entry_go_together(tmp_path):
    together = {"model.optimizer.init_args.lr": [0.1, 0.2], "trainer.max_steps": [5, 9]}
    sweep = sweep_file(tmp_path, axes=[together, {"seed_everything": [7, 8]}])
    assert labels(sweep) == [("0.1", "5", "7"), ("0.1", "5", "8"), ("0.2", "9", "7"), ("0.2", "9", "8")]
    assert expand(sweep).trials[2].parts == [
        tmp_path / "base.yaml",
        {"model.optimizer.init_args.lr": 0.2},
        {"trainer.max_steps": 9},
        {"seed_everything": 7},
    ]


def test_a_choice_is_a_value_a_file_or_several_of_both(tmp_path):
    (tmp_path / "rome.yaml").write_text("edit: {editor: ROME}\n")
    mixed = {"plain": {}, "both": ["rome.yaml", {"edit.editor.layer": 2}], "one": "rome.yaml"}
    sweep = sweep_file(tmp_path, axes=[{"edit.editor": ["rome.yaml", None]}, {"variant": mixed}])
    assert labels(sweep)[:3] == [("rome", "plain"), ("rome", "both"), ("rome", "one")]
    parts = [trial.parts[1:] for trial in expand(sweep).trials]
    rome = tmp_path / "rome.yaml"
    assert parts[:3] == [[rome, {}], [rome, rome, {"edit.editor.layer": 2}], [rome, rome]]
    assert labels(sweep)[3][0] == "none"
    assert parts[3] == [{"edit.editor": None}, {}]


def test_exclusions_have_a_reason_and_are_counted(tmp_path):
    exclude = [
        {"model.tuning": "LoRA", "data.edits.seed": [0, 2], "because": "too slow"},
        {"data.edits.seed": 0, "because": "was looked at before"},
    ]
    expansion = expand(sweep_file(tmp_path, exclude=exclude))
    assert [tuple(trial.labels.values()) for trial in expansion.trials] == [
        ("FullTuning", "1"),
        ("FullTuning", "2"),
        ("LoRA", "1"),
    ]
    assert expansion.left_out == {"too slow": 2, "was looked at before": 1}


def test_some_trials_have_something_besides(tmp_path):
    adjust = [
        {"model.tuning": "LoRA", "with": {"model.tuning.r": 4}},
        {"data.edits.seed": [1, 2], "model.tuning": "LoRA", "with": {"model.tuning.r": 8}},
    ]
    trials = expand(sweep_file(tmp_path, adjust=adjust)).trials
    assert [len(trial.parts) for trial in trials] == [3, 3, 3, 4, 5, 5]
    assert trials[4].parts[-2:] == [{"model.tuning.r": 4}, {"model.tuning.r": 8}]


def test_seeds_are_replicates_unless_others_are_named(tmp_path):
    assert sweep_file(tmp_path).replicates == ["data.edits.seed"]
    assert sweep_file(tmp_path, replicates=["model.tuning"]).replicates == ["model.tuning"]
    assert sweep_file(tmp_path, axes=[{"seed_everything": [1]}]).replicates == ["seed_everything"]


def test_a_trial_has_as_many_threads_as_processors():
    assert [Resources(cpus).threads for cpus in (0.25, 1, 4)] == [1, 1, 4]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"axis": []}, "has the key 'axis', which means nothing there. It knows name, verb, base"),
        ({"base": "nowhere.yaml"}, "base names nowhere.yaml, but there is no"),
        ({"base": 3}, "base has 3. Give a config file, or options by name"),
        ({"axes": []}, "axes is empty or no list"),
        ({"axes": [{"a": []}]}, "the axis a has no choice"),
        ({"axes": [{"a": 3}]}, "the axis a is 3. Give a list of values"),
        ({"axes": [{"a": [1, 1]}]}, "the axis a has two choices called 1"),
        ({"axes": [{"a": [1]}, {"a": [2]}]}, "a is given as an axis twice"),
        ({"axes": [{"a": [1], "b": [1, 2]}]}, "different numbers of choices: a 1, b 2"),
        ({"axes": [{"a": ["other.yaml"]}]}, "a names other.yaml, but there is no"),
        ({"exclude": [{"because": "x"}]}, "each needs labels by axis, and a 'because'"),
        ({"exclude": [{"model.tuning": "LoRA"}]}, "each needs labels by axis, and a 'because'"),
        ({"exclude": [{"tuning": "LoRA", "because": "x"}]}, "exclude names tuning, which is no axis. It is one of"),
        ({"exclude": [{"model.tuning": "DoRA", "because": "x"}]}, "model.tuning has no choice 'DoRA'"),
        ({"exclude": {"a": 1}}, "exclude is no list"),
        ({"adjust": [{"model.tuning": "LoRA"}]}, "under 'with' what is added"),
        ({"adjust": [{"with": {}}]}, "under 'with' what is added"),
        ({"adjust": [{"tuning": "LoRA", "with": {}}]}, "adjust names tuning, which is no axis"),
        ({"replicates": ["seed"]}, "replicates names seed, which is no axis"),
        ({"replicates": "seed"}, "replicates is 'seed'. Give a list"),
        ({"resources": {"cpu": 1}}, "resources has the key 'cpu'"),
        ({"resources": {"cpus": 0}}, "resources.cpus is 0"),
        ({"resources": {"cpus": 1.5}}, "above 1 it must be whole"),
        ({"resources": {"gpus": -1}}, "resources.gpus is -1"),
        ({"resources": {"gpus": float("nan")}}, "resources.gpus is nan"),
        ({"resources": 2}, "resources is 2"),
        ({"retries": -1}, "retries is -1"),
        ({"verb": "edit"}, "verb is 'edit'. A trial is one of fit, cycles"),
        ({"verb": "cycles", "axes": [{"cycle": {"a": {}, "b": {"data.seed": 1}}}]}, "an axis is called 'cycle'"),
        ({"name": "../x"}, "name is '../x', which names no folder"),
    ],
)
def test_a_mistake_is_named(tmp_path, content, said):
    with pytest.raises(ConfigError, match=".*") as error:
        sweep_file(tmp_path, **content)
    assert said in str(error.value)


def test_exclusions_that_leave_out_nothing_or_all_are_mistakes(tmp_path):
    nothing = [{"model.tuning": "LoRA", "because": "slow"}, {"model.tuning": "LoRA", "because": "again"}]
    with pytest.raises(ConfigError, match="no trial is left out because 'again'"):
        expand(sweep_file(tmp_path, exclude=nothing))
    with pytest.raises(ConfigError, match="all trials are excluded"):
        expand(sweep_file(tmp_path, axes=AXES[:1], exclude=[{"model.tuning": ["LoRA", "FullTuning"], "because": "x"}]))
