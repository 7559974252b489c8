"""HiddenStateAnchor against states that are read in full passes, one fact at a time."""

from __future__ import annotations

import math

import pytest
import tiny
import torch
from test_hold import LAYERS, OPTIMIZERS, edited, train, trainable
from test_on_lora import GPT2, LLAMA, adapted
from test_replay import TEXT, loss_on, step_gradients

from edit_lit.deltas import ModelStates
from edit_lit.facts.request import fact_hash
from edit_lit.guards import HiddenStateAnchor
from edit_lit.utilities.errors import ConfigError

LAST = max(LAYERS)


def states(model, request, last_edited=LAST):
    """The output of each block: at the subject's last token up to a layer, at the prompt's last one above it."""
    ids = torch.tensor([model.tokenizer(request.question)["input_ids"]])
    named = request.prompt.split("{}")[0] + request.subject
    lookup = len(model.tokenizer(named)["input_ids"]) - 1
    assert lookup < ids.shape[1] - 1
    found = []
    handles = [block.register_forward_hook(lambda *call: found.append(call[2])) for block in model.blocks]
    model.model(ids)
    for handle in handles:
        handle.remove()
    outputs = [output[0] if isinstance(output, tuple) else output for output in found]
    return [output[0, lookup if layer <= last_edited else -1] for layer, output in enumerate(outputs)]


def distance(before, after):
    """The mean over layers of ‖h − hₑ‖² / ‖hₑ‖²."""
    terms = [((now - then) ** 2).sum() / (then**2).sum() for then, now in zip(before, after, strict=True)]
    return sum(terms) / len(terms)


def all_states(model, requests, last_edited=LAST):
    with torch.no_grad():
        return [states(model, request, last_edited) for request in requests]


CASES = {
    # Llama's norms compute in float32, whatever the model is in.
    "llama": (lambda: edited(tiny.llama, train="all"), True, 1e-5),
    "gpt2": (lambda: edited(tiny.gpt2, train="all"), True, 1e-10),
    "gpt2, a control": (lambda: edited(tiny.gpt2, train="all"), False, 1e-10),
    "llama with LoRA": (lambda: adapted(tiny.llama, LLAMA), True, 1e-5),
    "gpt2 with LoRA": (lambda: adapted(tiny.gpt2, GPT2), True, 1e-10),
}


@pytest.mark.parametrize(("make", "is_edited", "rounding"), CASES.values(), ids=CASES)
def test_its_gradient_is_that_of_the_distance_on_the_drawn_facts(make, is_edited, rounding):
    model, delta, requests = make()
    last = LAST if is_edited else -1
    guard = HiddenStateAnchor(share=1, batch_size=3, weight=0.7)
    # As in a fit, where an adapter is switched off while guards read the edited model.
    with ModelStates(model, delta).edited():
        guard.setup(model, delta if is_edited else None, requests)
    before = all_states(model, requests, last)
    train(model, OPTIMIZERS["adamw"](trainable(model)), steps=3)
    found = step_gradients(model, guard, step=2)
    drawn = guard._gradient.drawn(2)
    model.model.zero_grad()
    kept = sum(distance(before[number], states(model, requests[number], last)) for number in drawn) / 3
    (loss_on(TEXT, model) + 0.7 * kept).backward()
    assert kept > 1e-3
    for parameter, gradient in zip(trainable(model), found, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=0, atol=rounding)
    assert float(guard.measures()["loss"]) == pytest.approx(kept.item(), abs=rounding)


def test_right_after_the_edit_there_is_nothing_to_bring_back():
    model, delta, requests = edited(tiny.gpt2, train="all")
    guard = HiddenStateAnchor(share=1, batch_size=4)
    guard.setup(model, delta, requests)
    assert math.isnan(float(guard.measures()["loss"]))
    guard.before_step()
    assert float(guard.measures()["loss"]) < 1e-20
    assert max(float(parameter.grad.abs().max()) for parameter in trainable(model)) < 1e-9


def test_the_states_stay_nearer_to_what_they_were():
    ends = []
    for guard in (None, HiddenStateAnchor(share=1, batch_size=4)):
        model, delta, requests = edited(train="all")
        before = all_states(model, requests)
        optimizer = OPTIMIZERS["sgd"](trainable(model))
        if guard is not None:
            guard.setup(model, delta, requests)
            guard.attach(optimizer)
        train(model, optimizer)
        ends.append(sum(map(distance, before, all_states(model, requests))))
    assert ends[1] < ends[0] / 2


def test_the_facts_whose_states_it_keeps_are_named():
    model, delta, requests = edited(train="all")
    for guard, facts, prompts in ((HiddenStateAnchor(), 2, 2), (HiddenStateAnchor(paraphrases=1, share=1), 4, 8)):
        guard.setup(model, delta, requests)
        assert len(guard.seen) == facts
        assert guard.seen <= {fact_hash(request) for request in requests}
        assert f"{facts} of 4 edited facts, 2 of {prompts} prompts" in guard.describe()


def test_modes_and_random_numbers_stay_as_they_were():
    model, delta, requests = edited(train="all")
    model.model.train()
    state = torch.get_rng_state()
    guard = HiddenStateAnchor()
    guard.setup(model, delta, requests)
    step_gradients(model, guard, 0)
    assert model.model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_what_cannot_be_done_is_refused():
    model, delta, requests = edited()
    model.model.requires_grad_(False)
    model.head.requires_grad_(True)
    model.model.model.norm.requires_grad_(True)
    with pytest.raises(ConfigError, match="nothing trains in the blocks, or below them"):
        HiddenStateAnchor().setup(model, delta, requests)
    model.model.get_input_embeddings().requires_grad_(True)
    HiddenStateAnchor().setup(model, delta, requests)
    with pytest.raises(ConfigError, match="paraphrases is 2, but edit request 0"):
        HiddenStateAnchor(share=1, paraphrases=2).setup(model, delta, requests)
    for options, message in (({"share": 0}, "share is 0"), ({"weight": 0}, "weight is 0")):
        with pytest.raises(ConfigError, match=message):
            HiddenStateAnchor(**options)
