"""EditAgain and AddDelta: the other orders of editing and fine-tuning."""

from __future__ import annotations

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from planted import changed, edited, fine_tune, state

from edit_lit.deltas import ModelStates, Part, WeightPart
from edit_lit.editors import FTM, TargetTraining
from edit_lit.rewriters import AddDelta, EditAgain, Interpolate
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


@pytest.mark.parametrize("alpha", [0.25, 0.5])
def test_interpolation_goes_back_with_all_that_moved(alpha):
    model, delta, requests = edited()
    then = state(model)
    rewriter = Interpolate(alpha)
    rewriter.setup(model, delta, requests)
    kept = "model.embed_tokens.weight"
    fine_tune(model, but=[kept])
    tuned = state(model)
    names = rewriter.rewrite(model)
    assert set(names) == changed(tuned, state(model)) == tuned[0].keys() - {kept}
    for name, parameter in model.model.named_parameters():
        expected = (1 - alpha) * then[0][name][0] + alpha * tuned[0][name][0]
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-12, atol=1e-12)
    assert f"{alpha:.0%}" in rewriter.describe()


def test_an_adapter_merged_is_half_gone():
    model, delta, requests = edited()
    name = "model.layers.1.mlp.down_proj.weight"
    then = model.parameter(name).detach().clone()
    config = LoraConfig(r=2, target_modules=["down_proj"], init_lora_weights=False)
    model.model = get_peft_model(model.model, config).eval()
    rewriter = Interpolate()
    with ModelStates(model, delta).edited():
        rewriter.setup(model, delta, requests)
    model.model = model.model.merge_and_unload()
    tuned = model.parameter(name).detach().clone()
    assert all("down_proj" in changed for changed in rewriter.rewrite(model))
    torch.testing.assert_close(model.parameter(name).detach(), (then + tuned) / 2, rtol=1e-12, atol=1e-12)


def test_what_cannot_be_interpolated_is_refused():
    model, _, requests = edited()
    with pytest.raises(ConfigError, match="but there was no edit"):
        Interpolate().setup(model, None, requests)
    with pytest.raises(ConfigError, match="Interpolate knows of no edit"):
        Interpolate().rewrite(model)
    with pytest.raises(ConfigError, match=r"rewriter\.alpha is 1"):
        Interpolate(1)
