"""FineTuneEdited is a plain training of the edited matrices, or one whose changes answer to the edits' keys alone."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from planted import LAYERS, MODELS, NAMES, augmented, changed, edited, keys, state

from edit_lit.erasers import FineTuneEdited
from edit_lit.guards.fact_gradient import FactGradient
from edit_lit.tasks.task import IGNORED
from edit_lit.utilities.errors import ConfigError


def set_up(make=tiny.llama, **options):
    model, delta, requests = edited(make)
    eraser = FineTuneEdited(tiny.Sides(), **{"steps": 8, "lr": 1e-2, **options})
    eraser.setup(model, delta, requests)
    return model, delta, requests, eraser


@pytest.mark.parametrize("make", MODELS, ids=NAMES)
def test_within_keys_nothing_changes_but_the_answers_to_the_keys(make):
    model, delta, requests, eraser = set_up(make, within_keys=True)
    spanned, start, before = keys(model, requests), {one: augmented(model, one) for one in LAYERS}, state(model)
    eraser.erase(model)
    assert changed(before, state(model)) == set(delta.updates) == set(eraser.changes(model))
    for layer in LAYERS:
        change = (augmented(model, layer) - start[layer])[:, :-1]
        # A projector found another way, by the pseudoinverse.
        rest = torch.eye(change.shape[1], dtype=torch.float64) - torch.linalg.pinv(spanned[layer]) @ spanned[layer]
        assert change.norm() > 1e-2
        assert (change @ rest).norm() < 1e-12 * start[layer].norm()
    assert f"4 of {change.shape[1]}" in eraser.describe()
    free = set_up(make)
    free[-1].erase(free[0])
    change = (augmented(free[0], 1) - start[1])[:, :-1]
    assert (
        change @ (torch.eye(change.shape[1], dtype=torch.float64) - torch.linalg.pinv(spanned[1]) @ spanned[1])
    ).norm() > 1e-2


@pytest.mark.parametrize("within", [False, True])
def test_its_steps_are_those_of_a_plain_loop_over_single_texts(within, monkeypatch):
    model, delta, requests, eraser = set_up(within_keys=within, steps=3, batch_size=5)
    twin, seen, plain_at = copy.deepcopy(model), [], FactGradient.at

    def at(self, step):
        seen.append(self.drawn(step))
        return plain_at(self, step)

    monkeypatch.setattr(FactGradient, "at", at)
    eraser.erase(model)
    weights = {name: twin.parameter(name) for name in delta.updates}
    start = {name: weight.detach().clone() for name, weight in weights.items()}
    onto = {
        name: torch.linalg.pinv(one) @ one
        for name, one in zip(delta.updates, keys(twin, requests).values(), strict=True)
    }
    optimizer = torch.optim.Adam(weights.values(), lr=1e-2)
    texts = eraser.task.train_dataset().examples
    for drawn in seen:
        optimizer.zero_grad()
        losses = [
            twin.model(input_ids=torch.tensor([texts[i]["input_ids"]]), labels=torch.tensor([texts[i]["labels"]])).loss
            for i in drawn
        ]
        torch.stack(losses).mean().backward()
        for name, weight in weights.items():
            if within:
                weight.grad.copy_(weight.grad @ onto[name])
        optimizer.step()
        with torch.no_grad():
            for name, weight in weights.items():
                if within:
                    weight.copy_(start[name] + (weight - start[name]) @ onto[name])
    assert len(seen) == 3
    assert f"{len(seen)} steps" in eraser.describe()
    for name, weight in weights.items():
        torch.testing.assert_close(model.parameter(name) - start[name], weight - start[name], rtol=1e-5, atol=1e-7)


def test_weights_flags_and_modes_come_back_where_it_fails():
    for within in (False, True):
        model, _, _, eraser = set_up(within_keys=within, lr=1e300)
        model.model.train()
        before = state(model)
        with pytest.raises(ConfigError, match=r"no finite numbers.*eraser\.lr"):
            eraser.erase(model)
        assert changed(before, state(model)) == set()


def test_what_it_cannot_act_on_is_refused():
    with pytest.raises(ConfigError, match="knows of no edit"):
        FineTuneEdited(tiny.Sides()).erase(tiny.llama())
    model, _, _, eraser = set_up(
        within_keys=True,
        contexts=["it is late . {}", "the bus goes to {}", "it rains . {}", "north {}", "{}", "east {}"],
    )
    before = state(model)
    with pytest.raises(ConfigError, match="span all inputs of the matrix of layer 1"):
        eraser.erase(model)
    assert changed(before, state(model)) == set()
    model, _, _, eraser = set_up()
    model.model = get_peft_model(model.model, LoraConfig(r=2, target_modules=["down_proj"])).eval()
    with pytest.raises(ConfigError, match="but an adapter"):
        eraser.erase(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"paraphrases": 1}, "eraser.paraphrases says which keys count"),
        ({"contexts": ["so {}"]}, "eraser.contexts says which keys count"),
        ({"energy": 0.5}, "eraser.energy says which keys count"),
        ({"within_keys": True, "energy": 0}, "eraser.energy is 0"),
        ({"batch_size": 0}, "eraser.batch_size is 0"),
        ({"steps": 0}, "eraser.steps is 0"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        FineTuneEdited(tiny.Sides(), **options)


def test_texts_of_which_nothing_is_a_label_are_left_out():
    model, _, requests, _ = set_up()
    task = tiny.Uneven()
    eraser = FineTuneEdited(task, steps=1, lr=1e-3, batch_size=50)
    _, delta, _ = edited()
    eraser.setup(model, delta, requests)
    eraser.erase(model)
    labelled = [one for one in task.train_dataset().examples if set(one["labels"][1:]) != {IGNORED}]
    assert 0 < len(labelled) < 12
