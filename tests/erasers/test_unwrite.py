"""Unwrite puts the base model's answers back for the keys that it names, and leaves all else as it was."""

from __future__ import annotations

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from planted import LAYERS, MODELS, NAMES, augmented, changed, edited, fine_tune, keys, state, with_one

from edit_lit.deltas import Delta, Dense, ModelStates, WeightPart
from edit_lit.deltas.provenance import Provenance
from edit_lit.erasers import Unwrite
from edit_lit.guards.protected_write import ProtectedWrite
from edit_lit.surgery import put_back
from edit_lit.utilities.errors import ConfigError

# In models this small, few keys are many.
pytestmark = pytest.mark.filterwarnings("ignore:Unwrite takes more than a quarter")


def off(ours, theirs, keys_KN):
    """The largest difference of two matrices' answers to keys, in relation to their norm."""
    wanted = with_one(keys_KN) @ theirs.T
    return float(((with_one(keys_KN) @ ours.T - wanted).norm(dim=1) / wanted.norm(dim=1)).max())


@pytest.mark.parametrize("make", MODELS, ids=NAMES)
@pytest.mark.parametrize("which", ["now", "edit", "both"])
def test_answers_are_the_base_models_for_the_keys_it_names_and_the_rest_stays(make, which):
    base = make()
    model, delta, requests = edited(make)
    then = keys(model, requests)
    eraser = Unwrite(keys=which)
    eraser.setup(model, delta, requests)
    fine_tune(model)
    tuned, before = {layer: augmented(model, layer) for layer in LAYERS}, state(model)
    eraser.erase(model)
    now = keys(model, requests)
    assert changed(before, state(model)) <= set(eraser.changes(model))
    for layer in LAYERS:
        ours, theirs = augmented(model, layer), augmented(base, layer)
        kept = {"now": [now], "edit": [then], "both": [now, then]}[which]
        for of_layer in kept:
            assert off(tuned[layer], theirs, of_layer[layer]) > 1e-2
            assert off(ours, theirs, of_layer[layer]) < 1e-10
        for of_layer in {"now": [then], "edit": [now], "both": []}[which]:
            assert off(ours, theirs, of_layer[layer]) > 1e-3, "the two sets of keys are not the same"
        # A projector found another way, by the pseudoinverse.
        spanned = torch.cat([with_one(of_layer[layer]) for of_layer in kept])
        if model.output_projection(layer).weight.shape[0] == 16:  # llama, which has no bias
            spanned = spanned[:, :-1]
        change = (ours - tuned[layer])[:, : spanned.shape[1]]
        rest = torch.eye(spanned.shape[1], dtype=torch.float64) - torch.linalg.pinv(spanned) @ spanned
        assert (change @ rest).norm() < 1e-10 * tuned[layer].norm()
        assert change.norm() > 1e-3 * tuned[layer].norm()


def test_without_fine_tuning_a_write_along_the_keys_is_gone_altogether():
    base, (model, delta, requests) = tiny.llama(), edited(layers=(1,))
    eraser = Unwrite("edit")
    eraser.setup(model, delta, requests)
    eraser.erase(model)
    for name, parameter in model.model.named_parameters():
        torch.testing.assert_close(parameter, base.parameter(name), rtol=1e-12, atol=1e-12)
    assert "layer 1: 4 of 24 input directions" in eraser.describe()


def test_a_bias_that_is_still_the_base_models_stays_bit_for_bit():
    model, delta, requests = edited(tiny.gpt2)
    eraser = Unwrite()
    eraser.setup(model, delta, requests)
    biases = [name for name, _ in model.model.named_parameters() if name.endswith("mlp.c_proj.bias")]
    fine_tune(model, but=biases)
    before = state(model)
    eraser.erase(model)
    assert changed(before, state(model)) == set(delta.updates)
    assert set(eraser.changes(model)) - set(delta.updates) == {name for name in biases if name.split(".")[2] in "12"}


def test_paraphrases_and_contexts_are_unwritten_where_asked_for():
    context = "it is late . {}"
    for eraser in (Unwrite("now"), Unwrite("now", paraphrases=1, contexts=[context])):
        base, (model, delta, requests) = tiny.llama(), edited(count=2)
        eraser.setup(model, delta, requests)
        fine_tune(model)
        eraser.erase(model)
        said = [tiny.EditRequest(request.subject, tiny.TEMPLATES[2], request.target_new) for request in requests]
        others = torch.cat([keys(model, said)[2], keys(model, requests, [context])[2]])
        exact = off(augmented(model, 2), augmented(base, 2), others) < 1e-10
        assert exact is bool(eraser.contexts)


def test_an_adapter_on_an_edited_matrix_is_refused_and_works_merged():
    base, (model, delta, requests) = tiny.llama(), edited()
    model.model = get_peft_model(
        model.model, LoraConfig(r=2, target_modules=["down_proj", "q_proj"], init_lora_weights=False)
    ).eval()
    eraser = Unwrite()
    with ModelStates(model, delta).edited():
        eraser.setup(model, delta, requests)
    before = state(model)
    with pytest.raises(ConfigError, match=r"Unwrite changes model\.layers\.1\.mlp\.down_proj\.weight, but an adapter"):
        eraser.erase(model)
    assert changed(before, state(model)) == set()
    model.model = model.model.merge_and_unload()
    tuned = augmented(model, 1)
    eraser.erase(model)
    now = keys(model, requests)
    for layer in LAYERS:
        assert off(augmented(model, layer), augmented(base, layer), now[layer]) < 1e-10
    assert off(tuned, augmented(base, 1), now[1]) > 1e-2


def test_an_adapter_elsewhere_stays_on():
    base, (model, delta, requests) = tiny.llama(), edited()
    model.model = get_peft_model(
        model.model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    ).eval()
    eraser = Unwrite("now")
    with ModelStates(model, delta).edited():
        eraser.setup(model, delta, requests)
    eraser.erase(model)
    now = keys(model, requests)
    assert all(off(augmented(model, layer), augmented(base, layer), now[layer]) < 1e-10 for layer in LAYERS)


def test_what_it_cannot_erase_is_named_and_nothing_changes(monkeypatch):
    model, delta, requests = edited(count=8)
    eraser = Unwrite("edit", contexts=["it is late . {}", "the bus goes to {}", "it rains . {}", "north {}"])
    with pytest.raises(ConfigError, match="knows of no edit"):
        eraser.erase(model)
    eraser.setup(model, delta, requests)
    before = state(model)
    with pytest.raises(ConfigError, match="keys span all inputs of the matrix of layer 1"):
        eraser.erase(model)
    assert changed(before, state(model)) == set()

    def spans_second(module, keys_KN, energy):
        if seen:
            raise ConfigError("they span it")
        seen.append(module)
        return ProtectedWrite(module, keys_KN, energy)

    seen = []
    monkeypatch.setattr(put_back, "ProtectedWrite", spans_second)
    eraser = Unwrite("edit")
    eraser.setup(model, delta, requests)
    with pytest.raises(ConfigError, match="of layer 2"):
        eraser.erase(model)
    assert changed(before, state(model)) == set(), "what was done to layer 1 is taken back"


def test_edits_of_other_kinds_are_refused():
    model, delta, requests = edited()
    delta.revert(model)
    with pytest.raises(ConfigError, match="is not applied"):
        Unwrite().setup(model, delta, requests)
    name = "model.layers.1.mlp.up_proj.weight"
    update = Dense(torch.full(tuple(model.parameter(name).shape), 0.01, dtype=torch.float64))
    other = Delta([WeightPart({name: update})], Provenance("Planted", {}, "m", "t", "r", (1,)))
    other.apply(model)
    with pytest.raises(ConfigError, match=r"the edit changes model\.layers\.1\.mlp\.up_proj\.weight, too. Use Undo"):
        Unwrite().setup(model, other, requests)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": "then"}, "eraser.keys is 'then'"),
        ({"paraphrases": -1}, "eraser.paraphrases is -1"),
        ({"energy": 0}, "eraser.energy is 0"),
        ({"contexts": ["no place"]}, "eraser.contexts holds 'no place'"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Unwrite(**options)


def test_too_few_paraphrases_are_refused():
    model, delta, requests = edited()
    with pytest.raises(ConfigError, match=r"eraser\.paraphrases is 2, but .*Oslo.* has 1"):
        Unwrite(paraphrases=2).setup(model, delta, requests)
