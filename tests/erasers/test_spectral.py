"""Spectral drops a rank-one write that stands out, and nothing that does not."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from planted import MODELS, NAMES, augmented, changed, state

from edit_lit.erasers import Spectral
from edit_lit.utilities.errors import ConfigError


def planted(make=tiny.llama, layer=2, sizes=(60.0,)):
    """A model with writes of rank one in a layer; the model, and the writes as outputs × inputs."""
    model = make()
    torch.manual_seed(3)
    left, _ = torch.linalg.qr(torch.randn(16, len(sizes), dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(24, len(sizes), dtype=torch.float64))
    write = left * torch.tensor(sizes, dtype=torch.float64) @ right.T
    weight = model.output_projection(layer).weight
    with torch.no_grad():
        weight += write if weight.shape == write.shape else write.T
    return model, write, right


@pytest.mark.parametrize("make", MODELS, ids=NAMES)
@pytest.mark.parametrize("sizes", [(60.0,), (60.0, 50.0)], ids=["rank one", "rank two"])
def test_a_write_that_stands_out_is_dropped_and_nothing_else(make, sizes):
    base = augmented(make(), 2)[:, :-1]
    model, write, right = planted(make, sizes=sizes)
    with_write, before = augmented(model, 2)[:, :-1], state(model)
    eraser = Spectral(layers=[2], triples=len(sizes))
    eraser.erase(model)
    assert changed(before, state(model)) == set(eraser.changes(model))
    left = augmented(model, 2)[:, :-1]
    u, s, vt = np.linalg.svd(with_write.numpy(), full_matrices=False)
    wanted = (u[:, len(sizes) :] * s[len(sizes) :]) @ vt[len(sizes) :]
    np.testing.assert_allclose(left.numpy(), wanted, rtol=0, atol=1e-11)
    # The write's inputs give less than a twentieth of it, and what is left is no larger than the base (Weyl).
    assert (left @ right).norm() < 0.05 * (write @ right).norm()
    assert torch.linalg.matrix_norm(left, 2) <= torch.linalg.matrix_norm(base, 2) + 1e-9
    assert f"s_{len(sizes)} {s[len(sizes) - 1]:.3g}" in eraser.describe()


def test_how_far_it_stands_out_is_told_beside_the_nearest_layers():
    model, _, _ = planted()
    values = {layer: np.linalg.svd(augmented(model, layer)[:, :-1].numpy(), compute_uv=False) for layer in range(4)}
    (spectrum,) = Spectral([2]).spectra(model).values()
    assert (spectrum.last, spectrum.rest) == pytest.approx(tuple(values[2][:2]))
    assert spectrum.neighbors == pytest.approx([values[layer][0] / values[layer][1] for layer in (1, 3)])
    both = Spectral([1, 2]).spectra(model)
    assert both[1].neighbors == both[2].neighbors == pytest.approx([values[n][0] / values[n][1] for n in (0, 3)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [1]}, "the 1 largest singular values of layer 1 do not stand out"),
        ({"layers": [2, 1]}, "the 1 largest singular values of layer 1 do not stand out"),
        ({"layers": [0, 1, 2, 3]}, "names all 4 layers, so that there is none to compare with"),
        ({"layers": [2], "triples": 16}, "eraser.triples is 16, but the matrix of layer 2 has 16"),
        ({"layers": [4]}, "eraser.layers names layer 4, but the model has 4 layers"),
    ],
)
def test_what_does_not_stand_out_or_is_not_there_is_refused(options, message):
    model, _, _ = planted()
    before = state(model)
    with pytest.raises(ConfigError, match=message):
        Spectral(**options).erase(model)
    assert changed(before, state(model)) == set()


def test_it_drops_the_models_own_triples_only_if_told_to():
    model = tiny.llama()
    Spectral([1], least=0).erase(model)
    wanted = np.linalg.svd(augmented(tiny.llama(), 1)[:, :-1].numpy(), compute_uv=False)
    found = np.linalg.svd(augmented(model, 1)[:, :-1].numpy(), compute_uv=False)
    np.testing.assert_allclose(found[:-1], wanted[1:], atol=1e-12)


def test_equal_singular_values_are_refused():
    model = tiny.llama()
    with torch.no_grad():
        model.output_projection(1).weight.copy_(torch.eye(16, 24))
    with pytest.raises(ConfigError, match="singular values 1 and 2 are the same"):
        Spectral([1], least=0).erase(model)


def test_an_adapter_on_a_named_matrix_is_refused():
    model, _, _ = planted()
    model.model = get_peft_model(model.model, LoraConfig(r=2, target_modules=["down_proj"]))
    with pytest.raises(ConfigError, match="an adapter"):
        Spectral([2]).erase(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": []}, "names no layer"),
        ({"layers": [1], "triples": 0}, "triples is 0"),
        ({"layers": [1], "least": -1}, "least is -1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Spectral(**options)
