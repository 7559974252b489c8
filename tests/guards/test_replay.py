"""Replay and AGEM against gradients that are computed one fact at a time."""

from __future__ import annotations

import math

import pytest
import tiny
import torch
from test_hold import OPTIMIZERS, edited, train, trainable

from edit_lit.facts.request import fact_hash
from edit_lit.guards import AGEM, Replay
from edit_lit.language_model.spans import answer_rows
from edit_lit.utilities.errors import ConfigError

TEXT = "the bus goes to Oslo and to New York . it is late ."


def distributions(model, request):
    """Log-probabilities at the target's tokens, and the target, of one fact."""
    (row,) = answer_rows(model.tokenizer, [(request.question, request.target_new)])
    logs = model.model(torch.tensor([row.ids])).logits[0].log_softmax(-1)
    return logs[list(row.positions)], torch.tensor(row.answer)


def loss_on(text, model):
    ids = torch.tensor([model.tokenizer(text)["input_ids"]])
    return model.model(ids, labels=ids).loss


def divergence(before, after, top):
    """KL(before ‖ after) where all but the likeliest tokens of before are one."""
    total = 0.0
    for p, q in zip(before, after, strict=True):
        chosen = p.exp().argsort(descending=True)[:top]
        others = [place for place in range(len(p)) if place not in chosen.tolist()]
        total = total + (p[chosen].exp() * (p[chosen] - q[chosen])).sum()
        if others:
            rest_p, rest_q = p[others].exp().sum(), q[others].exp().sum()
            total = total + rest_p * (rest_p.log() - rest_q.log())
    return total / len(before)


def step_gradients(model, guard, step):
    """The gradients that a guard makes of those of a text."""
    model.model.zero_grad()
    loss_on(TEXT, model).backward()
    guard.step = step
    guard.before_step()
    return [parameter.grad.clone() for parameter in trainable(model)]


@pytest.mark.parametrize(("loss", "top"), [("kl", 5), ("kl", 10_000), ("cross_entropy", 64)])
def test_its_gradient_is_that_of_the_loss_on_the_drawn_facts(loss, top):
    model, delta, requests = edited(tiny.gpt2, train="all")
    guard = Replay(share=1, batch_size=3, weight=0.7, loss=loss, top=top)
    guard.setup(model, delta, requests)
    with torch.no_grad():
        before = [distributions(model, request)[0] for request in requests]
    train(model, OPTIMIZERS["adamw"](trainable(model)), steps=3)
    found = step_gradients(model, guard, step=2)
    drawn = guard._gradient.drawn(2)
    model.model.zero_grad()
    losses = []
    for number in drawn:
        after, target = distributions(model, requests[number])
        nll = -after[range(len(target)), target].mean()
        losses.append(nll if loss == "cross_entropy" else divergence(before[number], after, top))
    replayed = sum(losses) / len(losses)
    (loss_on(TEXT, model) + 0.7 * replayed).backward()
    for parameter, gradient in zip(trainable(model), found, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-9, atol=1e-12)
    assert float(guard.measures()["loss"]) == pytest.approx(replayed.item(), rel=1e-9)


def test_right_after_the_edit_there_is_nothing_to_bring_back():
    model, delta, requests = edited(train="all")
    guard = Replay(share=1, batch_size=4)
    guard.setup(model, delta, requests)
    assert math.isnan(float(guard.measures()["loss"]))
    guard.before_step()
    assert float(guard.measures()["loss"]) == pytest.approx(0, abs=1e-12)
    assert max(float(parameter.grad.abs().max()) for parameter in trainable(model)) < 1e-12


def test_each_pass_draws_every_row_once_and_hangs_on_the_step_alone():
    model, delta, requests = edited(train="all")
    guard = Replay(share=1, batch_size=2)
    guard.setup(model, delta, requests)
    passes = [sorted(guard._gradient.drawn(step) + guard._gradient.drawn(step + 1)) for step in (0, 2, 4)]
    assert passes == [[0, 1, 2, 3]] * 3
    assert len({tuple(guard._gradient.drawn(step)) for step in range(20)}) > 4
    again = Replay(share=1, batch_size=2)
    again.setup(model, delta, requests)
    assert again._gradient.drawn(7) == guard._gradient.drawn(7)


def test_the_facts_it_learns_from_are_named_and_the_others_not():
    model, delta, requests = edited(train="all")
    hashes = {fact_hash(request) for request in requests}
    for guard, count in ((Replay(), 2), (AGEM(), 2), (Replay(share=0.1), 1), (AGEM(share=1), 4)):
        guard.setup(model, delta, requests)
        assert len(guard.seen) == count
        assert guard.seen <= hashes
        assert f"{count} of 4 edited facts" in guard.describe()
    chosen = set()
    for seed in range(5):
        guard = Replay(seed=seed)
        guard.setup(model, delta, requests)
        chosen.add(guard.seen)
    assert len(chosen) > 1


def test_replayed_answers_stay_nearer_to_what_they_were():
    divergences, losses = [], []
    kept, target = (Replay(share=1, batch_size=4, weight=1, loss=loss) for loss in ("kl", "cross_entropy"))
    for guard in (None, kept, target, AGEM(1)):
        model, delta, requests = edited(train="all")
        with torch.no_grad():
            before = [distributions(model, request)[0] for request in requests]
        optimizer = OPTIMIZERS["sgd"](trainable(model))
        if guard is not None:
            guard.setup(model, delta, requests)
            guard.attach(optimizer)
        train(model, optimizer)
        assert guard is None or guard.step == 30
        with torch.no_grad():
            after = [distributions(model, request) for request in requests]
        divergences.append(sum(float(divergence(p, q, 10_000)) for p, (q, _) in zip(before, after, strict=True)))
        losses.append(sum(float(-q[range(len(target)), target].mean()) for q, target in after))
    assert divergences[1] < divergences[0] / 2
    assert losses[2] < losses[0] / 2
    assert losses[3] < 0.9 * losses[0], "AGEM's promise is of first order"


def test_agem_takes_off_what_goes_against_the_facts_and_nothing_else():
    model, delta, requests = edited(tiny.gpt2, train="all")
    guard = AGEM(share=1, batch_size=4)
    guard.setup(model, delta, requests)
    found = step_gradients(model, guard, step=0)
    model.model.zero_grad()
    loss_on(TEXT, model).backward()
    plain = [parameter.grad.clone() for parameter in trainable(model)]
    model.model.zero_grad()
    losses = []
    for request in requests:
        after, target = distributions(model, request)
        losses.append(-after[range(len(target)), target].mean())
    (sum(losses) / 4).backward()
    conflicts = 0
    for parameter, gradient, changed in zip(trainable(model), plain, found, strict=True):
        reference = parameter.grad
        along = (gradient * reference).sum()
        if along < 0:
            conflicts += 1
            gradient = gradient - along / (reference * reference).sum() * reference
            assert abs(float((changed * reference).sum())) < 1e-10
        torch.testing.assert_close(changed, gradient, rtol=1e-9, atol=1e-12)
    assert 0 < conflicts < len(plain)
    assert float(guard.measures()["against"]) == pytest.approx(conflicts / len(plain))


@pytest.mark.parametrize("guard", [Replay(), AGEM()], ids=["replay", "agem"])
def test_modes_and_random_numbers_stay_as_they_were(guard):
    model, delta, requests = edited(train="all")
    model.model.train()
    state = torch.get_rng_state()
    guard.setup(model, delta, requests)
    step_gradients(model, guard, 0)
    assert model.model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_what_cannot_be_done_is_refused():
    model, delta, requests = edited()
    model.model.requires_grad_(False)
    for guard in (Replay(), AGEM()):
        with pytest.raises(ConfigError, match="nothing of the model trains"):
            guard.setup(model, delta, requests)
    for options, message in (
        ({"share": 0}, "share is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"weight": 0}, "weight is 0"),
        ({"loss": "mse"}, "loss is 'mse'; use 'kl' or 'cross_entropy'"),
    ):
        with pytest.raises(ConfigError, match=message):
            Replay(**options)
