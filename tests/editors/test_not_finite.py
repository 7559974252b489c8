"""No NaN becomes part of an edit: it is refused where it begins, by name, with the model as it was."""

from __future__ import annotations

import re

import pytest
import tiny
import torch

from edit_lit.activations import Contexts
from edit_lit.deltas import DeltaCache
from edit_lit.editors import FTM, ROME, LoRAEdit, TargetTraining, TargetValues
from edit_lit.editors.closed_form import editor as closed_form
from edit_lit.language_model.fingerprint import model_fingerprint
from edit_lit.utilities.errors import ConfigError


def refused(editor, reason, language_model=None):
    language_model = language_model or tiny.llama()
    before = model_fingerprint(language_model.model)
    with pytest.raises(ConfigError, match=reason) as caught:
        editor.edit(language_model, tiny.requests())
    assert "\n" not in str(caught.value)
    assert model_fingerprint(language_model.model) == before


@torch.no_grad()
@pytest.mark.parametrize("value", ["nan", "-inf"])
def test_a_broken_model_is_refused_before_anything_is_computed(corpus, tmp_path, monkeypatch, value):
    language_model = tiny.llama()
    language_model.parameter("model.layers.3.self_attn.q_proj.weight")[2, 3] = float(value)
    editor = tiny.memit(corpus, str(tmp_path))
    monkeypatch.setattr(editor, "prepare", lambda *_: 1 / 0)
    refused(editor, r"^the model's weight model.layers.3.self_attn.q_proj.weight holds NaN", language_model)


@pytest.mark.parametrize("broken", ["values", "losses"])
def test_a_target_value_that_became_nan_is_named_by_its_fact(corpus, tmp_path, monkeypatch, broken):
    found = closed_form.find_target_values

    def with_nan(*args, **options):
        made = found(*args, **options)
        getattr(made, broken)[2] = float("nan")
        return made

    monkeypatch.setattr(closed_form, "find_target_values", with_nan)
    name = re.escape(tiny.requests()[2].name)
    what = {"values": "target value", "losses": "loss"}[broken]
    refused(tiny.memit(corpus, str(tmp_path)), f"^the {what} of 1 of 4 facts .* such as that of {name}. Lower target_v")


def test_an_update_that_is_nan_is_named_by_its_layer(corpus, tmp_path, monkeypatch):
    memit = tiny.memit(corpus, str(tmp_path))
    solve = memit.solve
    monkeypatch.setattr(memit, "solve", lambda *args: [factor * torch.inf for factor in solve(*args)])
    refused(memit, "^the edited weight of layer 1 holds NaN or infinity")


def test_a_key_that_is_nan_is_named_by_its_layer(monkeypatch):
    language_model = tiny.llama()
    overflow = language_model.output_projection(1).register_forward_pre_hook(lambda _, inputs: inputs[0] * torch.nan)
    monkeypatch.setattr(closed_form, "check_facts", lambda *_: None)
    rome = ROME([1], use_moments=False, target_values=TargetValues(steps=2), contexts=Contexts(templates=[]))
    refused(rome, "^a fact's key at layer 1 holds NaN", language_model)
    overflow.remove()


FTM_OR_LORA = {"FTM": lambda training: FTM([2], training), "LoRA": lambda training: LoRAEdit([2], training=training)}


@pytest.mark.parametrize("name", FTM_OR_LORA)
def test_a_diverged_training_is_refused(name):
    """Its loss is NaN, which no comparison takes for a reason to go on or to stop."""
    make = FTM_OR_LORA[name]
    refused(make(TargetTraining(lr=1e300, epochs=4)), r"holds NaN or infinity|^the loss of . of 4 facts became NaN")


def test_what_was_refused_is_not_in_the_cache(tmp_path):
    editor, cache = FTM([2], TargetTraining(lr=1e300, epochs=4)), DeltaCache(tmp_path)
    with pytest.raises(ConfigError, match="NaN"):
        editor.edit(tiny.llama(), tiny.requests(), cache)
    assert not list(tmp_path.glob("*.safetensors"))
