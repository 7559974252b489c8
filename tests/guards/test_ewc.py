"""EWC against gradients of margins that are taken one fact at a time, and against the formula of its step."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch
from test_hold import OPTIMIZERS, edited, train, trainable
from test_on_lora import adapted
from test_replay import distributions

from edit_lit.deltas import ModelStates
from edit_lit.guards import EWC, L2SP
from edit_lit.utilities.errors import ConfigError


def log_probability(model, request, target):
    """The mean log-probability of a target's tokens, from all logits."""
    logs, tokens = distributions(model, replace(request, target_new=target))
    return logs[range(len(tokens)), tokens].mean()


def margin(model, request):
    return log_probability(model, request, request.target_new) - log_probability(model, request, request.target_true)


def squares(model, values):
    """The mean of the squared gradients of some values, as one vector over all that trains."""
    found = []
    for value in values:
        gradients = torch.autograd.grad(value, trainable(model), materialize_grads=True, allow_unused=True)
        found.append(torch.cat([gradient.flatten() for gradient in gradients]) ** 2)
    return sum(found) / len(found)


def importance(guard, model):
    return torch.cat([guard.importance[parameter].flatten() for parameter in trainable(model)])


def moved(model, guard):
    """What a step of the guard makes of weights that have moved at random, and EWC's closed form."""
    torch.manual_seed(3)
    expected = []
    with torch.no_grad():
        for parameter in trainable(model):
            start = guard.start[parameter]
            parameter.add_(torch.randn_like(parameter))
            scaled = guard.strength * guard.importance[parameter] if isinstance(guard, EWC) else None
            # The minimum of ½ (x − θ)² + λ/2 F (x − θₑ)².
            expected.append(None if scaled is None else (parameter + scaled * start) / (1 + scaled))
        guard.after_step()
        ends = [parameter.detach().clone() for parameter in trainable(model)]
    return ends, expected


@pytest.mark.parametrize(
    ("make", "rounding"),
    [(lambda: edited(tiny.llama, train="all"), 1e-5), (lambda: edited(tiny.gpt2, train="all"), 1e-10)],
    ids=["llama, whose norms compute in float32", "gpt2"],
)
def test_importance_is_the_mean_squared_gradient_of_the_margins(make, rounding):
    model, delta, requests = make()
    guard = EWC()
    guard.setup(model, delta, requests)
    expected = squares(model, [margin(model, request) for request in requests])
    expected /= expected.mean()
    torch.testing.assert_close(importance(guard, model), expected, rtol=rounding, atol=rounding)
    assert float(importance(guard, model).mean()) == pytest.approx(1)
    said = EWC(paraphrases=1)
    said.setup(model, delta, requests)
    assert not torch.allclose(importance(said, model), expected, rtol=0.1)


def test_of_an_adapter_it_knows_what_the_adapter_says_also_where_that_is_switched_off():
    model, delta, requests = adapted()
    guard = EWC()
    flags = {parameter: parameter.requires_grad for parameter in model.model.parameters()}
    with ModelStates(model, delta).edited():
        guard.setup(model, delta, requests)
        assert {parameter: parameter.requires_grad for parameter in model.model.parameters()} == flags
        off = margin(model, requests[0])
        assert not off.requires_grad, "the adapter is off again"
    expected = squares(model, [margin(model, request) for request in requests])
    torch.testing.assert_close(importance(guard, model), expected / expected.mean(), rtol=1e-5, atol=1e-5)
    for name, parameter in model.model.named_parameters():
        assert parameter not in guard.importance or ("lora_A" in name) == (not guard.importance[parameter].any()), name


def test_a_step_is_the_proximal_one_and_draws_the_important_back_the_furthest():
    model, delta, requests = edited(train="all")
    guard = EWC(0.3)
    guard.setup(model, delta, requests)
    ends, expected = moved(model, guard)
    for end, wanted in zip(ends, expected, strict=True):
        torch.testing.assert_close(end, wanted, rtol=1e-10, atol=1e-12)
    shares = torch.cat([guard.share(parameter).flatten() for parameter in trainable(model)])
    ordered = shares[importance(guard, model).argsort()]
    assert (ordered.diff() >= 0).all()
    assert ordered[0] < 0.01 < 0.5 < ordered[-1] < 1


def test_where_all_weights_are_equally_important_it_is_l2sp():
    ends = []
    for guard in (EWC(0.25), L2SP(0.2)):
        model, delta, requests = edited(train="all")
        guard.setup(model, delta, requests)
        if isinstance(guard, EWC):
            guard.importance = {parameter: torch.ones_like(parameter) for parameter in guard.importance}
        ends.append(moved(model, guard)[0])
    for end, wanted in zip(*ends, strict=True):
        torch.testing.assert_close(end, wanted, rtol=1e-12, atol=1e-14)


def certain(model, request):
    """A fact of which the model is certain: a large head, and the likeliest word as the target."""
    with torch.no_grad():
        model.head.weight.mul_(1000)
        logits = model.model(torch.tensor([model.tokenizer(request.question)["input_ids"]])).logits[0, -1]
    best, second = (model.tokenizer.decode([place]) for place in logits.topk(2).indices.tolist())
    return replace(request, target_new=best, target_true=second)


def test_a_fact_of_which_the_model_is_certain_counts():
    model, delta, requests = edited(train="all")
    sure = certain(model, requests[0])
    nll = -log_probability(model, sure, sure.target_new)
    assert nll < 1e-9, "or the case is none"
    fisher = squares(model, [nll]).sum()
    of_margin = squares(model, [margin(model, sure)])
    assert fisher < 1e-12 * of_margin.sum()
    guard = EWC()
    guard.setup(model, delta, [sure])
    torch.testing.assert_close(importance(guard, model), of_margin / of_margin.mean(), rtol=1e-4, atol=1e-4)


def test_important_weights_move_less_than_without_it():
    ends = []
    for guard in (EWC(1e-12), EWC(1.0)):
        model, delta, requests = edited(train="all")
        before = sum(float(margin(model, request).detach()) for request in requests)
        optimizer = OPTIMIZERS["adamw"](trainable(model))
        guard.setup(model, delta, requests)
        guard.attach(optimizer)
        train(model, optimizer)
        measures = {name: float(value) for name, value in guard.measures().items()}
        ways = torch.cat([(now.detach() - then).flatten() ** 2 for now, then in guard.start.items()])
        size = torch.cat([then.flatten() ** 2 for then in guard.start.values()])
        known = torch.cat([part.flatten() for part in guard.importance.values()])
        assert measures["distance"] == pytest.approx(float((ways.sum() / size.sum()) ** 0.5), rel=1e-5)
        assert measures["moved_importance"] == pytest.approx(float((known * ways).sum() / ways.sum()), rel=1e-9)
        lost = before - sum(float(margin(model, request).detach()) for request in requests)
        ends.append((measures["moved_importance"], lost))
    assert ends[1][0] < ends[0][0] / 2
    assert ends[1][1] < ends[0][1] / 2
    assert guard.seen == frozenset()


def test_setting_up_leaves_no_trace():
    model, delta, requests = edited(train="all")
    model.model.train()
    state = torch.get_rng_state()
    EWC(paraphrases=1).setup(model, delta, requests)
    assert model.model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.model.parameters())


def test_what_cannot_be_done_is_refused():
    model, delta, requests = edited(train="all")
    unknown = [*requests[:2], replace(requests[2], target_true=None)]
    with pytest.raises(ConfigError, match=r"edit request 2 .* has no target_true. Add it, or leave EWC out"):
        EWC().setup(model, delta, unknown)
    model.model.requires_grad_(False)
    with pytest.raises(ConfigError, match="EWC would do nothing: no weight trains"):
        EWC().setup(model, delta, requests)
    with pytest.raises(ConfigError, match="strength is 0"):
        EWC(0)
    model, delta, requests = adapted()
    for name, parameter in model.model.named_parameters():
        parameter.requires_grad_("lora_A" in name)
    with pytest.raises(ConfigError, match="EWC finds no importance: .* sum to 0. Leave it out"):
        EWC().setup(model, delta, requests)
