"""L2SP against the formula, step by step."""

from __future__ import annotations

import pytest
import torch
from test_hold import TEXTS, edited, train, trainable

from edit_lit.guards import L2SP
from edit_lit.utilities.errors import ConfigError


def test_each_step_goes_back_a_share_of_the_way():
    model, delta, requests = edited(train="all")
    start = [parameter.detach().clone() for parameter in trainable(model)]
    guard, optimizer = L2SP(0.2), torch.optim.SGD(trainable(model), lr=0.05)
    guard.setup(model, delta, requests)
    guard.attach(optimizer)
    for step in range(3):
        before = [parameter.detach().clone() for parameter in trainable(model)]
        train(model, optimizer, steps=1)
        ids = torch.tensor([model.tokenizer(TEXTS[0])["input_ids"]])
        after = [parameter.detach().clone() for parameter in trainable(model)]
        with torch.no_grad():
            for parameter, value in zip(trainable(model), before, strict=True):
                parameter.copy_(value)
        gradients = torch.autograd.grad(model.model(ids, labels=ids).loss, trainable(model))
        with torch.no_grad():
            for parameter, value in zip(trainable(model), after, strict=True):
                parameter.copy_(value)
        for old, gradient, first, new in zip(before, gradients, start, after, strict=True):
            moved = old - 0.05 * gradient
            torch.testing.assert_close(new, moved - 0.2 * (moved - first), rtol=1e-10, atol=1e-12)
        assert guard.step == step + 1
    ways = sum(float((now - then).square().sum()) for now, then in zip(after, start, strict=True))
    size = sum(float(then.square().sum()) for then in start)
    assert float(guard.measures()["distance"]) == pytest.approx((ways / size) ** 0.5, rel=1e-6)


def test_what_cannot_be_done_is_refused():
    model, delta, requests = edited()
    model.model.requires_grad_(False)
    with pytest.raises(ConfigError, match="no weight trains"):
        L2SP().setup(model, delta, requests)
    with pytest.raises(ConfigError, match="strength is 1"):
        L2SP(1)
