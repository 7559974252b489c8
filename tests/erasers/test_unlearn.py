"""Unlearn takes the steps that plain formulas take, one fact at a time, and changes nothing else."""

from __future__ import annotations

import copy
import math

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from planted import MODELS, NAMES, changed, edited, state

from edit_lit.editors.gradient.training import teacher_forced
from edit_lit.erasers import Unlearn
from edit_lit.erasers.unlearn import mean_probability
from edit_lit.guards.fact_gradient import FactGradient
from edit_lit.language_model.spans import answer_rows
from edit_lit.tasks.task import IGNORED
from edit_lit.utilities.errors import ConfigError

KINDS = [("grad_diff", {}), ("npo", {"beta": 0.3}), ("sim_npo", {"beta": 1.5, "gamma": 0.2})]


def set_up(make=tiny.llama, **options):
    model, delta, requests = edited(make)
    eraser = Unlearn(**{"retain": 0, **options})
    eraser.setup(model, delta, requests)
    return model, delta, requests, eraser


def answer_logs(model, request):
    """Log-probabilities of the tokens of a new object, by a forward pass of its own."""
    (row,) = answer_rows(model.tokenizer, [(request.question, request.target_new)])
    logs = model.model(input_ids=torch.tensor([row.ids])).logits[0, list(row.positions)].log_softmax(-1)
    return torch.stack([logs[place, token] for place, token in enumerate(row.answer)])


@torch.no_grad()
def plain_probability(model, requests):
    return sum(math.exp(float(answer_logs(model, one).sum())) for one in requests) / len(requests)


def plain_loss(kind, logs, then, beta=None, gamma=0.0):
    """The published formulas, written as they are printed."""
    p, p_then, n = logs.sum().exp(), then.sum().exp(), len(logs)
    if kind == "grad_diff":
        return -torch.nn.functional.nll_loss(torch.stack([logs, logs]).T, torch.zeros(n, dtype=torch.long))
    if kind == "npo":
        return 2 / beta * torch.log(1 + (p / p_then) ** beta)
    return -2 / beta * torch.log(1 / (1 + torch.exp(beta / n * logs.sum() + gamma)))


def plain_divergence(model, then, example):
    """KL(then ‖ now) at the label tokens of a text, over the whole vocabulary."""
    ids = torch.tensor([example["input_ids"]])
    now, before = (one.model(input_ids=ids).logits[0].log_softmax(-1) for one in (model, then))
    places = [place for place in range(len(example["labels"]) - 1) if example["labels"][place + 1] != IGNORED]
    each = (before.exp() * (before - now)).sum(-1)
    return each[places].mean()


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("retain", [0, 3.0])
def test_its_gradient_is_that_of_the_plain_formulas_one_fact_at_a_time(kind, options, retain, monkeypatch):
    task = tiny.Uneven() if retain else None
    model, delta, requests, eraser = set_up(
        loss=kind, retain=retain, task=task, steps=2, lr=1e-3, stop_probability=0, top=10**6, **options
    )
    twin, then, seen = copy.deepcopy(model), copy.deepcopy(model), []
    plain_at = FactGradient.at

    def at(self, step):
        seen.append((self.rows, step, self.drawn(step)))
        return plain_at(self, step)

    monkeypatch.setattr(FactGradient, "at", at)
    eraser.erase(model)
    weights = [twin.parameter(name) for name in delta.updates]
    optimizer = torch.optim.Adam(weights, lr=1e-3)
    texts = [one for one in task.train_dataset().examples if set(one["labels"][1:]) != {IGNORED}] if task else []
    for step in range(2):
        optimizer.zero_grad()
        loss = 0
        for rows, at_step, drawn in seen:
            if at_step != step:
                continue
            for place in drawn:
                if rows == len(requests):
                    each = plain_loss(
                        kind, answer_logs(twin, requests[place]), answer_logs(then, requests[place]), **options
                    )
                    loss = loss + each / len(drawn)
                else:
                    loss = loss + retain * plain_divergence(twin, then, texts[place]) / len(drawn)
        loss.backward()
        optimizer.step()
    assert {rows for rows, *_ in seen} == ({len(requests), len(texts)} if task else {len(requests)})
    for name in delta.updates:
        moved = twin.parameter(name) - then.parameter(name)
        assert moved.norm() > 1e-3
        torch.testing.assert_close(model.parameter(name) - then.parameter(name), moved, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("make", MODELS, ids=NAMES)
def test_a_planted_edit_becomes_unlikely_and_all_else_stays_bit_for_bit(make):
    model, _, requests, _ = set_up(make)
    likely = plain_probability(model, requests)
    options = {"loss": "npo", "lr": 0.02, "steps": 200}
    model, delta, _, eraser = set_up(make, stop_probability=likely / 10, **options)
    before = state(model)
    eraser.erase(model)
    assert changed(before, state(model)) == set(delta.updates) == set(eraser.changes(model))
    now = plain_probability(model, requests)
    assert now < likely / 10
    assert f"{likely:.3g} before, {now:.3g} after" in eraser.describe()
    taken = int(eraser.describe().split("took ")[1].split()[0])
    assert 0 < taken < 200
    again, _, _, eraser = set_up(make, stop_probability=0, **{**options, "steps": taken})
    eraser.erase(again)
    assert all(torch.equal(again.parameter(name), model.parameter(name)) for name in delta.updates)


def test_what_is_unlikely_already_takes_no_step():
    model, _, _, eraser = set_up(stop_probability=0.999)
    before = state(model)
    eraser.erase(model)
    assert changed(before, state(model)) == set()
    assert "took 0 steps" in eraser.describe()


def test_the_texts_keep_the_model_on_them():
    away = {}
    for retain in (0, 100.0):
        task = tiny.Sides()
        options = {"lr": 5e-3, "steps": 40, "stop_probability": 0}
        model, _, requests, eraser = set_up(retain=retain, task=task if retain else None, **options)
        then = copy.deepcopy(model)
        eraser.erase(model)
        task.setup(model.tokenizer, requests)
        with torch.no_grad():
            away[retain] = sum(float(plain_divergence(model, then, one)) for one in task.train_dataset().examples)
    assert away[100.0] < away[0] / 3


def test_named_layers_train_in_place_of_the_edited_ones():
    model, _, _, eraser = set_up(layers=[3, 0], steps=1, stop_probability=0)
    before = state(model)
    eraser.erase(model)
    assert changed(before, state(model)) == {f"model.layers.{layer}.mlp.down_proj.weight" for layer in (0, 3)}


def test_weights_flags_and_modes_come_back_where_it_fails():
    model, _, _, eraser = set_up(lr=1e300, stop_probability=0, steps=5)
    model.model.train()
    before = state(model)
    with pytest.raises(ConfigError, match=r"no finite numbers from step .*Lower eraser\.lr"):
        eraser.erase(model)
    assert changed(before, state(model)) == set()
    assert all(parameter.grad is None for parameter in model.model.parameters())


def test_what_it_cannot_act_on_is_refused():
    with pytest.raises(ConfigError, match="knows of no edit"):
        Unlearn(retain=0).erase(tiny.llama())
    model, delta, _, eraser = set_up()
    model.model = get_peft_model(model.model, LoraConfig(r=2, target_modules=["down_proj"])).eval()
    before = state(model)
    with pytest.raises(ConfigError, match="but an adapter"):
        eraser.erase(model)
    assert changed(before, state(model)) == set()
    model, delta, requests, eraser = set_up(layers=[9])
    with pytest.raises(ConfigError, match="eraser.layers names layer 9"):
        eraser.erase(model)
    delta.revert(model)
    with pytest.raises(ConfigError, match="is not applied"):
        eraser.setup(model, delta, requests)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "eraser.retain is 1, but eraser.task names no texts"),
        ({"retain": 0, "task": tiny.Sides()}, "eraser.task would do nothing"),
        ({"retain": 0, "loss": "ascent"}, "eraser.loss is 'ascent'"),
        ({"retain": 0, "loss": "grad_diff", "beta": 1.0}, "eraser.beta is 1, but grad_diff has none"),
        ({"retain": 0, "loss": "npo", "gamma": 0.5}, "eraser.gamma is 0.5, but npo has none"),
        ({"retain": 0, "beta": 0}, "eraser.beta is 0"),
        ({"retain": 0, "steps": 0}, "eraser.steps is 0"),
        ({"retain": 0, "lr": 0}, "eraser.lr is 0"),
        ({"retain": -1}, "eraser.retain is -1"),
        ({"retain": 0, "stop_probability": 1}, "eraser.stop_probability is 1"),
        ({"retain": 0, "layers": []}, "eraser.layers names no layer"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Unlearn(**options)


def test_texts_that_cannot_be_scored_are_refused():
    class Packed(tiny.Sides):
        def train_dataset(self):
            examples = super().train_dataset().examples
            return tiny.ExampleList([{**one, "position_ids": [0, *range(len(one["labels"]) - 1)]} for one in examples])

    class Unlabelled(tiny.Sides):
        def train_dataset(self):
            examples = super().train_dataset().examples
            return tiny.ExampleList([{**one, "labels": [IGNORED] * len(one["labels"])} for one in examples])

    for task, message in ((Packed(), "packs several texts"), (Unlabelled(), "has no label token")):
        model, _, _, eraser = set_up(retain=1, task=task)
        with pytest.raises(ConfigError, match=message):
            eraser.erase(model)


def test_the_mean_probability_is_that_of_whole_answers():
    model, _, requests, _ = set_up()
    assert any(len(answer_logs(model, one)) > 1 for one in requests)
    rows = teacher_forced(model.tokenizer, requests, end=False)
    assert mean_probability(model, rows) == pytest.approx(plain_probability(model, requests))
