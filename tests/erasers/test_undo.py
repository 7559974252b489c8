"""Undo is exact where nothing was trained since the edit, and says what is left where something was."""

from __future__ import annotations

import pytest
import torch
from planted import MODELS, NAMES, changed, edited, fine_tune, state

from edit_lit.erasers import Undo
from edit_lit.utilities.errors import ConfigError


@pytest.mark.parametrize("make", MODELS, ids=NAMES)
def test_edited_weights_come_back_bit_for_bit_whatever_else_is_trained(make):
    base, (model, delta, requests) = make(), edited(make)
    eraser = Undo()
    eraser.setup(model, delta, requests)
    fine_tune(model, but=delta.updates)
    before = state(model)
    eraser.erase(model)
    assert changed(before, state(model)) == set(delta.updates) == set(eraser.changes(model))
    for name in delta.updates:
        assert torch.equal(model.parameter(name), base.parameter(name))
    assert "bit for bit" in eraser.describe()


def test_trained_weights_are_refused_with_what_training_did_to_them():
    model, delta, requests = edited()
    name, other = delta.updates
    with torch.no_grad():
        model.parameter(name).sub_(0.25 * delta.updates[name].dense())
    before = state(model)
    eraser = Undo()
    eraser.setup(model, delta, requests)
    with pytest.raises(ConfigError) as refused:
        eraser.erase(model)
    assert f"{name}: 0.25 (taken back: 0.25)" in str(refused.value)
    assert other not in str(refused.value)
    assert changed(before, state(model)) == set()


def test_subtracting_from_trained_weights_leaves_what_training_did():
    model, delta, requests = edited()
    fine_tune(model)
    tuned, before = {name: model.parameter(name).detach().clone() for name in delta.updates}, state(model)
    eraser = Undo(after_training=True)
    eraser.setup(model, delta, requests)
    eraser.erase(model)
    assert changed(before, state(model)) == set(delta.updates)
    for name, weight in tuned.items():
        left, right = delta.updates[name].left, delta.updates[name].right
        torch.testing.assert_close(model.parameter(name).detach(), weight - left @ right.T, rtol=1e-12, atol=1e-12)
    assert "not exact" in eraser.describe()


def test_without_an_applied_edit_it_is_refused():
    model, delta, requests = edited()
    with pytest.raises(ConfigError, match="knows of no edit"):
        Undo().erase(model)
    delta.revert(model)
    with pytest.raises(ConfigError, match="is not applied"):
        Undo().setup(model, delta, requests)
