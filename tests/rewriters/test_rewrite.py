"""Rewrite does every so many steps what a loop does that calls the rewriter by hand, and leaves no other trace."""

from __future__ import annotations

import math

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from planted import changed, edited, state

from edit_lit.deltas import ModelStates
from edit_lit.editors import FTM, TargetTraining
from edit_lit.rewriters import AddDelta, EditAgain, Interpolate, RestoreValues, RestoreWrites, Rewrite
from edit_lit.utilities.errors import ConfigError

pytestmark = tiny.ROUGH_EDITS

LAYERS = [1, 2]
TEXTS = [" ".join(tiny.OBJECTS), "the bus goes to Oslo and to New York . it is late ."]


def editor(layers=LAYERS):
    return FTM(layers=layers, training=TargetTraining(epochs=3, lr=0.02))


WAYS = {
    "writes": RestoreWrites,
    "values": RestoreValues,
    "a new edit": lambda: EditAgain(editor()),
    "interpolation": Interpolate,
}


def train(model, steps, guard=None, by_hand=None, inside=None, first=0):
    """Train; rewritten by a guard, or by hand behind each given step."""
    model.model.train()
    optimizer = torch.optim.AdamW([one for one in model.model.parameters() if one.requires_grad], lr=3e-3)
    if guard is not None:
        guard.attach(optimizer)
    for step in range(first, first + steps):
        optimizer.zero_grad()
        ids = torch.tensor([model.tokenizer(TEXTS[step % 2])["input_ids"]])
        with inside or torch.autocast("cpu", enabled=False):
            model.model(ids, labels=ids).loss.backward()
            gradients = [one.grad.clone() for one in model.model.parameters() if one.grad is not None]
            optimizer.step()
        after = [one.grad for one in model.model.parameters() if one.grad is not None]
        assert all(torch.equal(one, other) for one, other in zip(gradients, after, strict=True))
        if by_hand is not None and step + 1 in by_hand[1]:
            by_hand[0].rewrite(model)


@torch.no_grad()
def apart(model, twin):
    """The largest difference of any weight."""
    return max(float((one - twin.parameter(name)).abs().max()) for name, one in model.model.named_parameters())


@pytest.mark.parametrize("make", WAYS.values(), ids=WAYS)
def test_it_is_a_loop_that_rewrites_by_hand_every_so_many_steps(make):
    (model, delta, requests), (twin, its_delta, _), (free, *_) = edited(), edited(), edited()
    guard, rewriter = Rewrite(make(), every=2), make()
    guard.setup(model, delta, requests)
    rewriter.setup(twin, its_delta, requests)
    assert math.isnan(guard.measures()["change"])
    before = state(model)
    train(model, 5, guard)
    train(twin, 5, by_hand=(rewriter, (2, 4)))
    train(free, 5)
    assert apart(model, twin) < 1e-11
    assert apart(model, free) > 1e-4
    assert 0 < float(guard.measures()["change"]) < 10
    assert all(one.requires_grad and module.training for one in model.model.parameters() for module in model.blocks)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.model.modules())
    assert type(rewriter).__name__ in guard.describe()
    assert before[0].keys() == state(model)[0].keys()


def test_counted_on_from_a_step_it_takes_the_same_turns():
    models = []
    for first in (0, 1):
        model, delta, requests = edited()
        guard = Rewrite(RestoreValues(), every=2)
        guard.setup(model, delta, requests)
        guard.step = first
        train(model, 1, guard)
        models.append(model)
    assert apart(*models) > 1e-4, "the second of two steps is the one to rewrite behind"


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable`:FutureWarning")
@pytest.mark.parametrize("make", WAYS.values(), ids=WAYS)
def test_neither_autocast_nor_gradient_checkpointing_changes_what_is_written(make):
    models = []
    for inside in (None, torch.autocast("cpu", dtype=torch.bfloat16)):
        model, delta, requests = edited()
        model.model.float()
        guard = Rewrite(make(), every=1)
        guard.setup(model, delta, requests)
        if inside is None:
            guard.after_step()
        else:
            model.model.gradient_checkpointing_enable({"use_reentrant": False})
            model.model.train()
            with inside:
                guard.after_step()
        models.append(model)
    assert apart(*models) < 1e-5


def test_what_could_not_be_kept_is_refused_at_the_start():
    model, delta, requests = edited()
    with pytest.raises(ConfigError, match="but the run edits nothing"):
        Rewrite(RestoreValues()).setup(model, None, requests)
    with pytest.raises(ConfigError, match="AddDelta would write the edit twice"):
        Rewrite(AddDelta(editor())).setup(model, delta, requests)
    with pytest.raises(ConfigError, match=r"guards\.use\.every is 0"):
        Rewrite(RestoreValues(), every=0)
    model.parameter("model.layers.2.mlp.down_proj.weight").requires_grad_(False)
    for rewriter in (RestoreValues(), RestoreWrites()):
        with pytest.raises(ConfigError, match=r"layers\.2\.mlp\.down_proj\.weight, which does not train"):
            Rewrite(rewriter).setup(model, delta, requests)
    model.model = get_peft_model(model.model, LoraConfig(r=2, target_modules=["q_proj"])).double()
    with ModelStates(model, delta).edited(), pytest.raises(ConfigError, match="an adapter trains above them"):
        Rewrite(RestoreValues()).setup(model, delta, requests)


def test_the_same_editor_is_refused_at_the_start_and_another_one_before_it_changes_what_does_not_train():
    model, requests = tiny.llama(), tiny.requests(4)
    delta = editor().edit(model, requests)
    delta.apply(model)
    model.parameter("model.layers.1.mlp.down_proj.weight").requires_grad_(False)
    with pytest.raises(ConfigError, match="which does not train"):
        Rewrite(EditAgain(editor())).setup(model, delta, requests)
    guard = Rewrite(EditAgain(editor([1])), every=1)
    guard.setup(model, delta, requests)
    before = state(model)
    with pytest.raises(ConfigError, match=r"layers\.1\.mlp\.down_proj\.weight, which does not train"):
        guard.after_step()
    assert changed(before, state(model)) == set()
