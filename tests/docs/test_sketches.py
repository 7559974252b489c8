"""The examples of a new kind of Delta and of a new guard do what they say."""

from __future__ import annotations

import pytest
import tiny
import torch
from my_guard import NormBall
from my_side_delta import Codebook, CodebookEditor

from edit_lit.deltas import Delta, DeltaCache, ModelStates
from edit_lit.editors import FTM, TargetTraining, TargetValues
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import target_probability
from edit_lit.tuning import FullTuning, LoRA

IDS = torch.tensor([[5, 6, 7, 8, 9]])


def asked(language_model):
    return target_probability(Probe(tiny.requests(3), language_model.tokenizer).run(language_model))


def editor():
    return CodebookEditor(1, target_values=TargetValues(steps=20, clamp=30.0, weight_decay=1e-3))


@pytest.mark.parametrize("tuning", [FullTuning("unedited"), LoRA(r=2)])
@pytest.mark.parametrize("made_model", [tiny.llama, tiny.gpt2])
def test_a_side_delta_answers_saves_reverts_and_lets_training_through(made_model, tuning, tmp_path):
    language_model, cache = made_model(), DeltaCache(tmp_path / "cache")
    before = {name: parameter.clone() for name, parameter in language_model.model.named_parameters()}
    known = asked(language_model)
    delta = editor().edit(language_model, tiny.requests(3), cache)
    assert delta.updates == {}
    delta.save(tmp_path / "delta.safetensors")
    loaded = Delta.load(tmp_path / "delta.safetensors", kinds=(Codebook,))
    assert loaded.hash() == delta.hash() == editor().edit(language_model, tiny.requests(3), cache).hash()

    loaded.apply(language_model)
    written = asked(language_model)
    assert written > 2 * known
    assert all(torch.equal(before[name], item) for name, item in language_model.model.named_parameters())
    tuning.apply(language_model, loaded.layers)
    states = ModelStates(language_model, loaded)
    trained = [parameter for parameter in language_model.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-2)
    language_model.model(input_ids=IDS, labels=IDS).loss.backward()
    optimizer.step()
    assert asked(language_model) != written
    with states.edited():
        assert asked(language_model) == written
    with states.unedited():
        assert asked(language_model) == known
    with loaded.suspended(language_model):
        assert asked(language_model) < written / 2
    loaded.revert(language_model)
    assert not language_model.output_projection(1)._forward_hooks


@pytest.mark.parametrize("made_model", [tiny.llama, tiny.gpt2])
def test_a_guard_keeps_weights_near_where_the_edit_left_them(made_model):
    ends = {}
    for radius in (1e9, 0.1):
        language_model, requests = made_model(), tiny.requests(3)
        delta = FTM([2], TargetTraining(epochs=5)).edit(language_model, requests)
        delta.apply(language_model)
        parameters = list(language_model.model.parameters())
        start = [parameter.detach().clone() for parameter in parameters]
        optimizer = torch.optim.AdamW(parameters, lr=1e-2)
        guard = NormBall(radius)
        guard.setup(language_model, delta, requests)
        guard.attach(optimizer)
        for _ in range(2):
            optimizer.zero_grad()
            language_model.model(input_ids=IDS, labels=IDS).loss.backward()
            optimizer.step()
        ways = [(now.detach() - then).norm() for now, then in zip(parameters, start, strict=True)]
        ends[radius] = float(torch.stack(ways).norm())
        assert float(guard.measures()["distance"]) == pytest.approx(ends[radius])
    assert ends[1e9] > 0.2
    assert ends[0.1] == pytest.approx(0.1)
