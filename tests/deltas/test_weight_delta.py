from __future__ import annotations

import pytest
import tiny
import torch

from edit_lit.deltas.delta import Delta, Provenance
from edit_lit.deltas.updates import LowRank

NAME = "model.layers.1.mlp.down_proj.weight"


def made(seed=0, rank=3, model="m"):
    torch.manual_seed(seed)
    provenance = Provenance("Editor", {"layers": [1]}, model, f"requests {seed}", (1,), {"note": "kept"})
    return Delta({NAME: LowRank(torch.randn(16, rank), torch.randn(24, rank))}, provenance)


def test_apply_adds_and_revert_restores_every_bit():
    model = tiny.llama().model.float()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    delta = made()
    delta.apply(model)
    update = delta.updates[NAME].dense()
    torch.testing.assert_close(model.get_parameter(NAME), (before[NAME].double() + update).float(), rtol=0, atol=0)
    with delta.reverted(model):
        assert torch.equal(model.get_parameter(NAME), before[NAME])
    torch.testing.assert_close(model.get_parameter(NAME), (before[NAME].double() + update).float(), rtol=0, atol=0)
    delta.revert(model)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_small_updates_of_half_precision_weights_are_rounded_once():
    model = tiny.llama().model.bfloat16()
    weight = model.get_parameter(NAME)
    before = weight.detach().clone()
    delta = made()
    delta.apply(model)
    assert torch.equal(weight, (before.double() + delta.updates[NAME].dense()).bfloat16())


def test_it_cannot_be_applied_twice_or_reverted_unapplied():
    model, delta = tiny.llama().model, made()
    with pytest.raises(ValueError, match="not applied"):
        delta.revert(model)
    delta.apply(model)
    with pytest.raises(ValueError, match="applied already"):
        delta.apply(model)


def test_save_and_load_are_the_identity(tmp_path):
    delta = made()
    delta.save(tmp_path / "delta.safetensors")
    loaded = Delta.load(tmp_path / "delta.safetensors")
    assert loaded.hash() == delta.hash() != made(seed=1).hash()
    assert loaded.provenance == delta.provenance
    assert torch.equal(loaded.updates[NAME].left, delta.updates[NAME].left)
    assert [path.name for path in tmp_path.iterdir()] == ["delta.safetensors"]


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "delta.safetensors"
    made().save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"delta.safetensors holds no complete Delta.*edit again"):
        Delta.load(path)


def test_norms_and_merge_agree_with_dense_matrices():
    model, first, second = tiny.llama().model, made(), made(seed=1, rank=2)
    dense = first.updates[NAME].dense()
    assert first.norms()[NAME] == pytest.approx(float(dense.norm()))
    weight = model.get_parameter(NAME).detach().clone()
    assert first.relative_norms(model)[NAME] == pytest.approx(float(dense.norm() / weight.norm()))
    merged = first.merge(second)
    torch.testing.assert_close(merged.updates[NAME].dense(), dense + second.updates[NAME].dense())
    merged.apply(model)
    assert merged.relative_norms(model)[NAME] == pytest.approx(merged.norms()[NAME] / float(weight.norm()))
    with pytest.raises(ValueError, match="different models"):
        first.merge(made(model="another"))


def test_another_models_delta_is_refused():
    with pytest.raises(ValueError, match="no parameter model.layers"):
        made().apply(tiny.gpt2().model)
    wide = Delta({NAME: LowRank(torch.randn(17, 1), torch.randn(24, 1))}, made().provenance)
    with pytest.raises(ValueError, match="made for another model"):
        wide.apply(tiny.llama().model)
