"""The forms of Hold: soft, with keys of today, and sparing ordinary keys."""

from __future__ import annotations

import math

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from planted import augmented, edited, keys, with_one
from test_hold import OPTIMIZERS, train, trainable

from edit_lit.deltas import ModelStates
from edit_lit.editors import KeyCovariance
from edit_lit.guards import Hold
from edit_lit.records import TextLines
from edit_lit.utilities.errors import ConfigError

pytestmark = [
    pytest.mark.filterwarnings("ignore:Hold protects more than a quarter"),
    pytest.mark.filterwarnings("ignore:the corpus's keys leave directions"),
]
LAYERS = [1, 2]


def answers(model, of_layer):
    return {layer: with_one(of_layer[layer]) @ augmented(model, layer).T for layer in LAYERS}


def off(ours, wanted):
    return max(float((ours[layer] - wanted[layer]).norm() / wanted[layer].norm()) for layer in LAYERS)


@torch.no_grad()
def overwrite(model):
    """Change the edited matrices; by layer, what was added."""
    torch.manual_seed(3)
    added = {}
    for layer in LAYERS:
        weight = model.output_projection(layer).weight
        added[layer] = 0.1 * torch.randn_like(weight)
        weight += added[layer]
    return added


@torch.no_grad()
def move_keys(model):
    """Change what the edited layers read."""
    torch.manual_seed(4)
    for layer in (0, *LAYERS):
        matrix = model.blocks[layer].mlp.up_proj.weight
        matrix += 0.1 * torch.randn_like(matrix)


@pytest.mark.parametrize("strength", [0.25, 0.5])
def test_a_planted_change_of_the_writes_dies_away_by_the_strength(strength):
    model, delta, requests = edited()
    of = keys(model, requests)
    wanted = answers(model, of)
    guard = Hold(strength=strength)
    guard.setup(model, delta, requests)
    overwrite(model)
    first = {layer: now - wanted[layer] for layer, now in answers(model, of).items()}
    for step in range(1, 4):
        guard.after_step()
        for layer, now in answers(model, of).items():
            torch.testing.assert_close(
                now - wanted[layer], (1 - strength) ** step * first[layer], rtol=1e-8, atol=1e-10
            )
    assert float(guard.measures()["write_off"]) > 1e-3, "and what is left is told"
    weight = model.output_projection(1).weight
    weight.grad = torch.randn_like(weight)
    gradient = weight.grad.clone()
    guard.before_step()
    assert torch.equal(weight.grad, gradient)


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2], ids=["llama", "gpt2 with a bias that trains"])
def test_read_again_the_keys_of_today_get_the_values_of_then(make):
    left = []
    for guard in (Hold(refresh=3), Hold()):
        model, delta, requests = edited(make)
        wanted = answers(model, keys(model, requests))
        guard.setup(model, delta, requests)
        optimizer = OPTIMIZERS["adamw"](trainable(model))
        guard.attach(optimizer)
        assert guard.state_dict() == {}
        train(model, optimizer, steps=2)
        assert math.isnan(guard.measures().get("value_off", math.nan))
        train(model, optimizer, steps=1)
        left.append(off(answers(model, keys(model, requests)), wanted))
        if guard.refresh:
            assert float(guard.measures()["value_off"]) > 1e-3
            of = keys(model, requests)
            train(model, optimizer, steps=2)
            assert off(answers(model, of), wanted) < 1e-9, "held at these keys until the next time"
    assert left[0] < 1e-9
    assert left[1] > 1e-2


def test_a_key_said_twice_and_less_energy_are_taken_in_least_squares():
    model, delta, requests = edited()
    wanted = answers(model, keys(model, requests))
    guard = Hold(refresh=1, energy=0.7)
    guard.setup(model, delta, [*requests, requests[0]])
    move_keys(model)
    matrix, now = augmented(model, 1)[:, :-1], keys(model, requests)[1]
    guard.after_step()
    # After the answers to the old keys, a restoration at the directions kept of the new ones, by the pseudoinverse.
    unit = now / now.norm(dim=1, keepdim=True)
    values, vectors = torch.linalg.eigh(torch.cat([unit, unit[:1]]).T @ torch.cat([unit, unit[:1]]))
    share = values.flip(0).cumsum(0) / values.sum()
    rank = int((1 - share > 0.3).sum()) + 1
    basis = vectors.flip(1)[:, :rank]
    twice = torch.cat([now, now[:1]])
    short = torch.cat([wanted[1], wanted[1][:1]]) - twice @ matrix.T
    expected = matrix + (basis @ torch.linalg.pinv(twice @ basis) @ short).T
    assert rank < len(now)
    torch.testing.assert_close(augmented(model, 1)[:, :-1], expected, rtol=1e-7, atol=1e-9)


def covariance(tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(tiny.TEXT * 2))
    return KeyCovariance(corpus=TextLines(str(tmp_path / "text.txt")), cache_dir=str(tmp_path / "moments"))


def test_sparing_ordinary_keys_it_is_the_constrained_least_squares_and_stays_exact(tmp_path):
    model, delta, requests = edited()
    delta.revert(model)
    moment = covariance(tmp_path)
    spectra = moment.spectra(model, LAYERS)
    delta.apply(model)
    of = keys(model, requests)
    wanted = answers(model, of)
    guard = Hold(key_covariance=moment, ridge=0.5)
    guard.setup(model, delta, requests)
    overwrite(model)
    before = {layer: augmented(model, layer)[:, :-1] for layer in LAYERS}
    guard.after_step()
    assert off(answers(model, of), wanted) < 1e-10
    for layer, spectrum in spectra.items():
        matrix = spectrum.vectors @ torch.diag(spectrum.values) @ spectrum.vectors.T
        matrix = matrix + 0.5 * spectrum.values.mean() * torch.eye(len(matrix), dtype=matrix.dtype)
        # min tr(D C D^T) with (W + D) K = V: its conditions, solved as one system.
        inputs, count = matrix.shape[0], len(requests)
        conditions = torch.zeros(inputs + count, inputs + count, dtype=matrix.dtype)
        conditions[:inputs, :inputs] = 2 * matrix
        conditions[:inputs, inputs:], conditions[inputs:, :inputs] = of[layer].T, of[layer]
        right = torch.zeros(inputs + count, len(before[layer]), dtype=matrix.dtype)
        right[inputs:] = wanted[layer] - of[layer] @ before[layer].T
        change = torch.linalg.solve(conditions, right)[:inputs].T
        torch.testing.assert_close(augmented(model, layer)[:, :-1] - before[layer], change, rtol=1e-7, atol=1e-9)
    optimizer = OPTIMIZERS["adamw"](trainable(model))
    guard.attach(optimizer)
    train(model, optimizer, steps=6)
    assert off(answers(model, of), wanted) < 1e-11
    assert "sparing ordinary keys" in guard.describe()


def test_without_a_ridge_directions_that_the_corpus_leaves_unused_are_warned_of(tmp_path):
    model, delta, requests = edited()
    (tmp_path / "short.txt").write_text(tiny.TEXT[0])
    few = KeyCovariance(corpus=TextLines(str(tmp_path / "short.txt")), cache_dir=str(tmp_path / "moments"))
    of = keys(model, requests)
    wanted = answers(model, of)
    guard = Hold(key_covariance=few)
    with pytest.warns(UserWarning, match=r"leave directions of layer 1, layer 2 unused.*guards\.use\.ridge"):
        guard.setup(model, delta, requests)
    overwrite(model)
    guard.after_step()
    assert off(answers(model, of), wanted) < 1e-6


def test_what_cannot_be_done_is_refused(tmp_path):
    for options, message in (
        ({"strength": 0}, "strength is 0"),
        ({"strength": 1.5}, r"strength is 1\.5"),
        ({"refresh": -1}, "refresh is -1"),
        ({"ridge": -1, "key_covariance": covariance(tmp_path)}, "ridge is -1"),
        ({"ridge": 1}, "there is no second moment"),
    ):
        with pytest.raises(ConfigError, match=message):
            Hold(**options)
    model, delta, requests = edited(tiny.gpt2)
    with pytest.raises(ConfigError, match="have a bias that trains"):
        Hold(key_covariance=covariance(tmp_path)).setup(model, delta, requests)
    model, delta, requests = edited()
    model.model = get_peft_model(model.model, LoraConfig(r=2, target_modules=["down_proj"])).double()
    with ModelStates(model, delta).edited(), pytest.raises(ConfigError, match=r"refresh is given, but layer 1 wears"):
        Hold(refresh=5).setup(model, delta, requests)
