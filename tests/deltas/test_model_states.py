"""Three states of one model, against copies of it taken at the time."""

from __future__ import annotations

import copy

import peft
import pytest
import tiny
import torch

from edit_lit.deltas import ModelStates
from edit_lit.editors import FTM, TargetTraining
from edit_lit.tuning import DoRA, FullTuning, LoRA, PeftTuning

IDS = torch.tensor([[5, 6, 7, 8, 9]])
TUNINGS = {
    "all": FullTuning(),
    "before": FullTuning("before_edited"),
    "edited": FullTuning("edited", "mlp"),
    "lora": LoRA(r=2),
    "dora": DoRA(r=2),
    "prompt": PeftTuning(peft.PromptTuningConfig(num_virtual_tokens=2)),
    "ia3": PeftTuning(peft.IA3Config(feedforward_modules=[])),
}


@torch.no_grad()
def logits(language_model):
    return language_model.model(input_ids=IDS).logits.clone()


def bits(language_model):
    return {name: parameter.detach().clone() for name, parameter in language_model.model.named_parameters()}


def trained(language_model):
    """Three steps on some loss, with every trainable parameter moved."""
    parameters = [parameter for parameter in language_model.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        language_model.model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()


@pytest.mark.parametrize("made_model", [tiny.llama, tiny.gpt2])
@pytest.mark.parametrize("tuning", TUNINGS)
def test_each_state_is_what_the_model_was_and_the_tuned_one_comes_back(made_model, tuning):
    language_model = made_model()
    unedited = logits(language_model)
    delta = FTM([2], TargetTraining(epochs=3)).edit(language_model, tiny.requests(2))
    delta.apply(language_model)
    edited = logits(language_model)
    copy.deepcopy(TUNINGS[tuning]).apply(language_model, delta.layers)
    states = ModelStates(language_model, delta)
    trained(language_model)
    tuned, weights = logits(language_model), bits(language_model)
    flags = [parameter.requires_grad for parameter in language_model.model.parameters()]
    assert not torch.equal(tuned[..., -1, :], edited[..., -1, :])
    for _ in range(2):
        with states.unedited():
            assert torch.equal(logits(language_model), unedited)
        with states.edited():
            assert torch.equal(logits(language_model), edited)
        with states.tuned():
            assert torch.equal(logits(language_model), tuned)
    with pytest.raises(ZeroDivisionError), states.unedited():
        raise ZeroDivisionError
    assert torch.equal(logits(language_model), tuned)
    assert all(torch.equal(weights[name], parameter) for name, parameter in language_model.model.named_parameters())
    assert flags == [parameter.requires_grad for parameter in language_model.model.parameters()]
    assert delta.applied


def test_an_edit_that_is_not_in_the_model_is_refused():
    language_model = tiny.llama()
    delta = FTM([2], TargetTraining(epochs=1)).edit(language_model, tiny.requests(1))
    with pytest.raises(ValueError, match="not applied, so the model is not edited"):
        ModelStates(language_model, delta)


def test_an_error_inside_a_state_leaves_the_marks_of_a_frozen_adapter():
    language_model = tiny.llama()
    LoRA(r=2).apply(language_model, [])
    frozen = next(parameter for parameter in language_model.model.parameters() if parameter.requires_grad)
    frozen.requires_grad_(False)
    with pytest.raises(ZeroDivisionError), ModelStates(language_model).edited():
        raise ZeroDivisionError
    assert not frozen.requires_grad


def test_a_run_without_an_edit_has_two_equal_states():
    language_model = tiny.llama()
    before = logits(language_model)
    states = ModelStates(language_model)
    trained(language_model)
    with states.edited():
        assert torch.equal(logits(language_model), before)
    with states.unedited():
        assert torch.equal(logits(language_model), before)
    assert not torch.equal(logits(language_model), before)


def test_training_goes_on_as_if_nobody_had_looked():
    ends = []
    for looks in (False, True):
        language_model = tiny.llama()
        delta = FTM([2], TargetTraining(epochs=2)).edit(language_model, tiny.requests(2))
        delta.apply(language_model)
        FullTuning().apply(language_model, [])
        states = ModelStates(language_model, delta)
        optimizer = torch.optim.Adam(language_model.model.parameters(), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            language_model.model(input_ids=IDS, labels=IDS).loss.backward()
            if looks:
                with states.unedited():
                    logits(language_model)
            optimizer.step()
        ends.append(bits(language_model))
    assert all(torch.equal(ends[0][name], tensor) for name, tensor in ends[1].items())


def test_only_what_trains_and_has_a_place_of_its_own_goes_back():
    language_model = tiny.llama()
    FullTuning("before_edited").apply(language_model, [2])
    states = ModelStates(language_model)
    with pytest.raises(ValueError, match="did not train"), states.partly_edited([language_model.head.weight]):
        pass
    prompted = tiny.gpt2()
    TUNINGS["prompt"].apply(prompted, [])
    (virtual,) = [parameter for parameter in prompted.model.parameters() if parameter.requires_grad]
    with pytest.raises(ValueError, match="on no single module"), ModelStates(prompted).partly_edited([virtual]):
        pass
