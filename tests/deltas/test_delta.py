from __future__ import annotations

import json
from dataclasses import replace

import damage
import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model

from edit_lit.deltas import Delta, LowRank, Part, Provenance, WeightPart, read_provenance
from edit_lit.editors import FTM, TargetTraining
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.tensor_files import read_tensors, write_tensors

NAME = "model.layers.1.mlp.down_proj.weight"


def provenance(seed=0, model="m"):
    return Provenance("Editor", {"layers": [1]}, model, "t", f"requests {seed}", (1,), diagnostics={"note": "kept"})


def made(seed=0, rank=3, model="m", rows=16):
    torch.manual_seed(seed)
    part = WeightPart({NAME: LowRank(torch.randn(rows, rank), torch.randn(24, rank))})
    return Delta([part], provenance(seed, model))


def weights(language_model):
    return {name: parameter.detach().clone() for name, parameter in language_model.model.named_parameters()}


def assert_same(language_model, before):
    assert all(torch.equal(parameter, before[name]) for name, parameter in language_model.model.named_parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_apply_adds_with_one_rounding_and_revert_restores_every_bit(dtype):
    language_model = tiny.llama()
    language_model.model.to(dtype)
    before, delta = weights(language_model), made()
    delta.apply(language_model)
    edited = (before[NAME].double() + delta.updates[NAME].dense()).to(dtype)
    assert torch.equal(language_model.parameter(NAME), edited)
    with delta.suspended(language_model):
        assert_same(language_model, before)
    assert torch.equal(language_model.parameter(NAME), edited)
    delta.revert(language_model)
    assert_same(language_model, before)


def test_it_cannot_be_applied_twice_or_reverted_unapplied():
    language_model, delta = tiny.llama(), made()
    with pytest.raises(ValueError, match="not applied"):
        delta.revert(language_model)
    with pytest.raises(ValueError, match="not applied"), delta.suspended(language_model):
        pass
    delta.apply(language_model)
    with pytest.raises(ValueError, match="applied already"):
        delta.apply(language_model)


def test_reverting_never_throws_training_or_a_later_edit_away():
    language_model, first, second = tiny.llama(), made(), made(seed=1)
    before = weights(language_model)
    first.apply(language_model)
    second.apply(language_model)
    with pytest.raises(ValueError, match=rf"{NAME} has changed since.*Revert later Deltas first"):
        first.revert(language_model)
    second.revert(language_model)
    first.revert(language_model)
    assert_same(language_model, before)

    first.apply(language_model)
    with torch.no_grad():
        language_model.parameter(NAME)[3, 5] += 1e-9
    trained = weights(language_model)
    with pytest.raises(ValueError, match="it was fine-tuned"):
        first.revert(language_model)
    assert_same(language_model, trained)
    with first.suspended(language_model):
        assert torch.equal(language_model.parameter(NAME), before[NAME])
    assert_same(language_model, trained)
    assert first.applied


@pytest.mark.parametrize("made_model", [tiny.llama, tiny.gpt2])
def test_it_goes_below_adapters_and_comes_off_again(made_model):
    """An edit made with and without an adapter around is the same, and so is its effect."""
    editor, requests = FTM([2], TargetTraining(epochs=3)), tiny.requests(2)
    plain, adapted = made_model(), made_model()
    projection = "mlp.down_proj" if made_model is tiny.llama else "mlp.c_proj"
    config = LoraConfig(r=2, target_modules=[projection], fan_in_fan_out=made_model is tiny.gpt2)
    adapted.model = get_peft_model(adapted.model, config)
    delta = editor.edit(plain, requests)
    assert editor.edit(adapted, requests).updates.keys() == delta.updates.keys()
    before = weights(adapted)
    ids = torch.tensor([[5, 6, 7, 8]])
    delta.apply(adapted)
    with torch.no_grad():
        through = adapted.model(input_ids=ids).logits
        delta.revert(adapted)
        delta.apply(plain)
        assert torch.equal(plain.model(input_ids=ids).logits, through)
    assert_same(adapted, before)


def test_save_and_load_are_the_identity(tmp_path):
    delta = made()
    delta.save(tmp_path / "delta.safetensors")
    loaded = Delta.load(tmp_path / "delta.safetensors")
    assert loaded.hash() == delta.hash() != made(seed=1).hash()
    assert loaded.provenance == delta.provenance == read_provenance(tmp_path / "delta.safetensors")
    assert torch.equal(loaded.updates[NAME].left, delta.updates[NAME].left)
    assert [path.name for path in tmp_path.iterdir()] == ["delta.safetensors"]


def test_files_that_hold_no_whole_delta_are_refused(tmp_path):
    path = tmp_path / "delta.safetensors"
    made().save(path)
    tensors, fields = read_tensors(path, {})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"delta.safetensors holds no complete Delta.*edit again"):
        Delta.load(path)
    parts = json.dumps([{"kind": "side", "fields": {}}])
    write_tensors(path, tensors, {**fields, "parts": parts})
    with pytest.raises(ValueError, match="parts of the kind side, of which `kinds` names no class"):
        Delta.load(path)
    write_tensors(path, tensors, {**fields, "provenance": json.dumps({"health": {}, "layers": []})})
    with pytest.raises(ValueError, match="holds no complete Delta"):
        Delta.load(path)
    with pytest.raises(ValueError, match="holds no Delta"):
        read_provenance(path)
    for read in (Delta.load, read_provenance):
        with pytest.raises(ValueError, match="absent.safetensors does not exist. Name the file that an edit wrote"):
            read(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("way", damage.DAMAGES)
def test_no_damaged_file_is_taken_for_a_delta(tmp_path, way):
    path = tmp_path / "delta.safetensors"
    made().save(path)
    damage.DAMAGES[way](path)
    with pytest.raises(
        ConfigError, match=r"delta.safetensors holds no complete Delta \(its? .*\). Remove it and edit again"
    ):
        Delta.load(path)


def test_a_delta_cannot_be_saved_where_there_is_no_room(tmp_path):
    with damage.room_for(100), pytest.raises(ConfigError, match=r"delta.safetensors cannot be written .*too large"):
        made().save(tmp_path / "delta.safetensors")


class Note(Part):
    """A kind of its own: it leaves a mark on the model, and holds a tensor and a field."""

    kind = "note"

    def __init__(self, value, text):
        self.value, self.text = value, text

    def check(self, language_model):
        pass

    def attach(self, language_model):
        language_model.notes = [*getattr(language_model, "notes", []), self.text]

    def detach(self, language_model):
        assert language_model.notes.pop() == self.text

    def tensors(self):
        return {"value": self.value}

    def fields(self):
        return {"text": self.text}

    @classmethod
    def restore(cls, tensors, fields):
        return cls(tensors["value"], fields["text"])

    def merged(self, other):
        return None


def test_parts_of_several_kinds_are_applied_in_order_saved_and_merged(tmp_path):
    language_model = tiny.llama()
    before, delta = weights(language_model), made()
    delta.parts += [Note(torch.arange(3), "a"), Note(torch.arange(2), "b")]
    delta.save(tmp_path / "delta.safetensors")
    loaded = Delta.load(tmp_path / "delta.safetensors", kinds=(WeightPart, Note))
    assert loaded.hash() == delta.hash()
    assert [type(part) for part in loaded.parts] == [WeightPart, Note, Note]
    assert [part.value.tolist() for part in loaded.parts[1:]] == [[0, 1, 2], [0, 1]]
    loaded.parts[2].text = "c"
    assert loaded.hash() != delta.hash()

    loaded.apply(language_model)
    assert language_model.notes == ["a", "c"]
    with loaded.suspended(language_model):
        assert language_model.notes == []
        assert_same(language_model, before)
    loaded.revert(language_model)
    assert language_model.notes == []
    assert_same(language_model, before)
    merged = loaded.merge(made(seed=1))
    assert [part.kind for part in merged.parts] == ["weight", "note", "note"]
    torch.testing.assert_close(
        merged.updates[NAME].dense(), loaded.updates[NAME].dense() + made(seed=1).updates[NAME].dense()
    )


def test_norms_and_merge_agree_with_dense_matrices():
    language_model, first, second = tiny.llama(), made(), made(seed=1, rank=2)
    dense = first.updates[NAME].dense()
    assert first.norms()[NAME] == pytest.approx(float(dense.norm()))
    weight = language_model.parameter(NAME).detach().clone()
    assert first.relative_norms(language_model)[NAME] == pytest.approx(float(dense.norm() / weight.norm()))
    merged = first.merge(second)
    torch.testing.assert_close(merged.updates[NAME].dense(), dense + second.updates[NAME].dense())
    merged.apply(language_model)
    assert merged.relative_norms(language_model)[NAME] == pytest.approx(merged.norms()[NAME] / float(weight.norm()))
    with pytest.raises(ValueError, match="different models"):
        first.merge(made(model="another"))


def test_a_merged_delta_says_where_both_come_from():
    first, second = provenance(), replace(provenance(seed=1), editor="Other", layers=(0, 2), code="c", options={"r": 2})
    merged = Delta(made().parts, first).merge(Delta([Note(torch.ones(1), "a")], second))
    assert [part.kind for part in merged.parts] == ["weight", "note"]
    found = merged.provenance
    assert found.editor == "Editor+Other"
    assert found.options == {"parts": [{"layers": [1]}, {"r": 2}]}
    assert (found.model, found.tokenizer, found.layers) == ("m", "t", (0, 1, 2))
    other_way = Delta([], second).merge(Delta([], first)).provenance
    assert found.requests != other_way.requests
    assert found.code not in (first.code, second.code, other_way.code)


def test_updates_of_different_weights_stand_side_by_side():
    other = NAME.replace("layers.1", "layers.2")
    there = Delta([WeightPart({other: made(seed=1).updates[NAME]})], provenance())
    merged = made().merge(there)
    assert [part.kind for part in merged.parts] == ["weight"]
    assert torch.equal(merged.updates[NAME].left, made().updates[NAME].left)
    assert torch.equal(merged.updates[other].left, made(seed=1).updates[NAME].left)


def test_another_models_delta_is_refused_before_anything_changes():
    with pytest.raises(ValueError, match="no parameter model.layers"):
        made().apply(tiny.gpt2())
    with pytest.raises(ValueError, match="made for another model"):
        made(rows=17).apply(tiny.llama())
    language_model = tiny.llama()
    before, fits, wide = weights(language_model), made(), made(rows=17)
    delta = Delta([*fits.parts, *wide.parts], provenance())
    with pytest.raises(ValueError, match="made for another model"):
        delta.apply(language_model)
    assert_same(language_model, before)
    assert not delta.applied


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    """The file of an edit of ``tiny.llama()``."""
    path = tmp_path_factory.mktemp("edit") / "delta.safetensors"
    FTM([2], TargetTraining(epochs=3)).edit(tiny.llama(), tiny.requests(2)).save(path)
    return path


def refused(delta, language_model, reason):
    before = weights(language_model)
    with pytest.raises(ConfigError, match=reason):
        delta.apply(language_model)
    assert_same(language_model, before)
    assert not delta.applied
    delta.apply(language_model, other_weights=True)
    assert delta.applied


@torch.no_grad()
def test_an_edit_goes_onto_the_weights_that_it_was_made_for(edited):
    (name,) = Delta.load(edited).updates
    another = f"{name} is not the weight that the edit was made for: .*other_weights=True"
    refused(Delta.load(edited), tiny.llama(seed=1), another)
    tuned = tiny.llama()
    tuned.parameter(name)[3, 5] += 1e-9
    refused(Delta.load(edited), tuned, another)
    twice = tiny.llama()
    Delta.load(edited).apply(twice)
    refused(Delta.load(edited), twice, another)
    half = tiny.llama()
    half.model.bfloat16()
    refused(Delta.load(edited), half, f"{name} is bfloat16, but .* made for it in float64. Load the model with dtype")


@torch.no_grad()
def test_other_weights_than_the_edited_ones_and_adapters_make_no_difference(edited):
    language_model = tiny.llama()
    language_model.parameter("model.layers.0.mlp.up_proj.weight")[0, 0] += 1
    language_model.model = get_peft_model(language_model.model, LoraConfig(r=2, target_modules=["mlp.down_proj"]))
    delta = Delta.load(edited)
    delta.apply(language_model)
    delta.revert(language_model)
    delta.apply(language_model)


def test_edits_one_after_the_other_fit_and_so_do_merged_ones(edited):
    language_model, first = tiny.llama(), Delta.load(edited)
    beside = FTM([2], TargetTraining(epochs=2)).edit(language_model, tiny.requests(4)[2:])
    first.apply(language_model)
    behind = FTM([2], TargetTraining(epochs=2)).edit(language_model, tiny.requests(4)[2:])
    behind.apply(language_model)
    behind.revert(language_model)
    first.revert(language_model)
    refused(behind, tiny.llama(), "is not the weight that the edit was made for")
    merged = Delta.load(edited).merge(beside)
    merged.apply(language_model)
    refused(Delta.load(edited).merge(beside), language_model, "is not the weight")
    behind.provenance = first.provenance
    with pytest.raises(ConfigError, match="made for different model.layers.2"):
        first.merge(behind)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_nan_is_refused_wherever_it_comes_from(tmp_path, value):
    part = made().parts[0]
    part.updates[NAME].left[2, 1] = float(value)
    reason = f"^the Delta's weight {NAME}, left holds NaN or infinity. Edit again"
    with pytest.raises(ConfigError, match=reason):
        Delta([part], provenance())
    language_model, delta = tiny.llama(), made()
    before = weights(language_model)
    delta.parts = [part]
    with pytest.raises(ConfigError, match=reason):
        delta.apply(language_model)
    assert_same(language_model, before)
    with pytest.raises(ConfigError, match=reason):
        delta.save(tmp_path / "delta.safetensors")
    assert not list(tmp_path.iterdir())


@torch.no_grad()
def test_an_edit_that_makes_weights_overflow_leaves_the_model_as_it_was():
    language_model = tiny.llama()
    language_model.model.half()
    before, small, large = weights(language_model), made(), made()
    large.updates[NAME].left.mul_(1e6)
    delta = Delta([*small.parts, Note(torch.ones(1), "a"), *large.parts], provenance())
    with pytest.raises(
        ConfigError, match=f"{NAME} holds NaN or infinity once the edit is added. float16 is too narrow"
    ):
        delta.apply(language_model)
    assert_same(language_model, before)
    assert language_model.notes == []
    language_model.parameter(NAME)[0, 0] = float("nan")
    with pytest.raises(ConfigError, match=f"{NAME} holds NaN or infinity before the edit"):
        small.apply(language_model)


def test_the_key_tells_everything_but_diagnostics():
    base = provenance()
    assert replace(base, diagnostics={"seconds": 3.0}).key == base.key
    changes = {
        "editor": "Other",
        "options": {"layers": [2]},
        "model": "n",
        "tokenizer": "u",
        "requests": "r",
        "layers": (2,),
        "code": "c",
        "versions": {"torch": "0"},
    }
    assert set(vars(base)) == {*changes, "diagnostics"}
    keys = {replace(base, **{field: value}).key for field, value in changes.items()}
    assert len(keys | {base.key}) == len(changes) + 1
