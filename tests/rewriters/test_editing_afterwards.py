"""EditAgain and AddDelta: the other orders of editing and fine-tuning."""

from __future__ import annotations

import pytest
import tiny
import torch
from planted import changed, edited, fine_tune, state

from edit_lit.deltas import Part, WeightPart
from edit_lit.editors import FTM, TargetTraining
from edit_lit.rewriters import AddDelta, EditAgain
from edit_lit.utilities.errors import ConfigError

pytestmark = tiny.ROUGH_EDITS

LAYERS = [1, 2]
WRITTEN = {f"model.layers.{layer}.mlp.down_proj.weight" for layer in LAYERS}


def editor():
    return FTM(layers=LAYERS, training=TargetTraining(epochs=3, lr=0.02))


class AddsModules(FTM):
    kinds = (WeightPart, Part)


def test_the_delta_of_the_unedited_model_is_added_to_the_tuned_one():
    model, requests = tiny.llama(), tiny.requests(4)
    delta = editor().edit(model, requests)
    before = state(model)
    rewriter = AddDelta(editor())
    rewriter.setup(model, None, requests)
    assert changed(before, state(model)) == set()
    fine_tune(model)
    tuned = state(model)
    for _ in range(2):  # as often as one likes, each time from a model without it
        assert set(rewriter.rewrite(model)) == changed(tuned, state(model)) == WRITTEN
        for name, update in delta.updates.items():
            assert torch.equal(model.parameter(name), tuned[0][name][0] + update.dense())
        with torch.no_grad():
            for name in WRITTEN:
                model.parameter(name).copy_(tuned[0][name][0])
    assert "2 matrices" in rewriter.describe()


def test_editing_again_is_an_edit_of_the_tuned_model():
    (model, delta, requests), (twin, *_) = edited(), edited()
    rewriter = EditAgain(editor())
    rewriter.setup(model, delta, requests)
    fine_tune(model)
    fine_tune(twin)
    tuned = state(model)
    assert set(rewriter.rewrite(model)) == changed(tuned, state(model)) == WRITTEN
    editor().edit(twin, requests).apply(twin)
    for name, parameter in model.model.named_parameters():
        assert torch.equal(parameter, twin.parameter(name))
    assert "new edit of 4 facts" in rewriter.describe()


def test_what_they_are_not_for_is_refused():
    model, delta, requests = edited()
    with pytest.raises(ConfigError, match=r"would write the edit twice.*Use RestoreWrites"):
        AddDelta(editor()).setup(model, delta, requests)
    for kind in (AddDelta, EditAgain):
        with pytest.raises(ConfigError, match="but this editor adds modules"):
            kind(AddsModules(layers=LAYERS)).setup(model, None, requests)
    with pytest.raises(ConfigError, match="AddDelta knows of no edit"):
        AddDelta(editor()).rewrite(model)
