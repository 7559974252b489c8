"""The grids of our own questions: every choice in them is read, and they have the arms that their texts speak of."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from test_papers import covering

from edit_lit.cli.resolving import OptionReader
from edit_lit.sweeps.sweep_file import SweepFile
from edit_lit.sweeps.trials import expand

CONFIGS = Path(__file__).parent.parent / "configs"


@pytest.fixture(scope="module")
def reader():
    return OptionReader()


def trials_of(name):
    return list(expand(SweepFile.read(CONFIGS / name)).trials)


def test_layers(reader):
    trials = trials_of("findings/layers.yaml")
    arms = Counter((trial.labels["editor"], trial.labels["layers"], trial.labels["rate"]) for trial in trials)
    assert set(arms.values()) == {5}, "five sets of edits each"
    assert len({layers for editor, layers, _ in arms if editor == "memit"}) == 7
    for trial in covering(trials):
        options = reader.read(trial.parts)
        assert options.edit.apply == (trial.labels["editor"] != "none")
        assert options.data.edits.init_args.seed == int(trial.labels["data.edits.seed"])
        lora = trial.labels["layers"] == "lora"
        assert options.model.tuning.class_path.endswith(".LoRA") == lora
        if not lora:
            assert options.model.tuning.init_args.layers == trial.labels["layers"]


def test_guards(reader):
    trials = trials_of("guards/comparison.yaml")
    assert set(Counter(tuple(list(trial.labels.values())[:-1]) for trial in trials).values()) == {5}
    for trial in covering(trials):
        options = reader.read(trial.parts)
        frozen = trial.labels["guard"] in ("none", "freeze_edited", "freeze_through")
        assert bool(options.guards.use) != frozen
        assert options.edit.apply == (trial.labels["editor"] != "no_edit")


def test_what_else_may_keep_edits(reader):
    trials = trials_of("guards/further.yaml")
    assert set(Counter(trial.labels["means"] for trial in trials).values()) == {5}
    guarded = {"anchor": "HiddenStateAnchor", "ewc": "EWC", "rewrite": "Rewrite"}
    for trial in covering(trials):
        options, means = reader.read(trial.parts), trial.labels["means"]
        named = [guard.class_path.rsplit(".", 1)[-1] for guard in options.guards.use or ()]
        assert named == ([guarded[means]] if means in guarded else [])
        editor = options.edit.editor.init_args
        plain = editor.target_values.margin is None and not editor.target_values.sharpness
        assert plain == (means not in ("margin", "flat"))
        assert (editor.layers == [1, 2, 3]) == (means != "one_layer")


def test_guards_on_the_second_test_bed(reader):
    trials = trials_of("guards/second_test_bed.yaml")
    assert set(Counter(trial.labels["guard"] for trial in trials).values()) == {5}
    for trial in covering(trials):
        options = reader.read(trial.parts)
        assert bool(options.guards.use) == trial.labels["guard"].startswith("path")
