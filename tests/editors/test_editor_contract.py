"""What every editor promises, whatever its method."""

from __future__ import annotations

import pytest
import small
import torch

from edit_lit.deltas import Delta
from edit_lit.editors import (
    EMMET,
    ENCORE,
    FTL,
    FTM,
    MEMIT,
    PMET,
    PRUNE,
    RECT,
    ROME,
    RROME,
    SPHERE,
    AlphaEdit,
    Anchor,
    BeyondRank,
    LocFTBF,
    LoRAEdit,
    MEMITSequential,
    NormAnchor,
    Schedule,
    TargetTraining,
)
from edit_lit.facts.request import EditRequest
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import target_probability

PAIRS = Schedule(batch_size=2)
EDITORS = {
    "MEMIT": lambda parts: MEMIT([1, 2], 0.1, 0.1, **parts),
    "MEMIT in pairs": lambda parts: MEMIT([1, 2], 0.1, 0.1, schedule=PAIRS, **parts),
    "MEMIT twice": lambda parts: MEMIT([1, 2], 0.1, 0.1, schedule=Schedule(passes=2), **parts),
    "MEMIT with paraphrases": lambda parts: MEMIT([1, 2], 0.1, 0.1, schedule=Schedule(paraphrases=1), **parts),
    "MEMIT with RECT": lambda parts: MEMIT([1, 2], 0.1, 0.1, constraint=RECT(0.8), **parts),
    "MEMIT with PRUNE": lambda parts: MEMIT([1, 2], 0.1, 0.1, constraint=PRUNE(), schedule=PAIRS, **parts),
    "MEMIT with SPHERE": lambda parts: MEMIT([1, 2], 0.1, 0.1, constraint=SPHERE(0.5, 0.2), **parts),
    "MEMIT with EAC": lambda parts: MEMIT(
        [1, 2], 0.1, 0.1, **{**parts, "target_values": small.values(anchor=Anchor(share=0.5))}
    ),
    "MEMIT with NAS": lambda parts: MEMIT(
        [1, 2], 0.1, 0.1, **{**parts, "target_values": small.values(norm_anchor=NormAnchor(skip=100.0), clamp=3.0)}
    ),
    "MEMITSequential": lambda parts: MEMITSequential([1, 2], 0.1, 0.1, schedule=PAIRS, **parts),
    "EMMET": lambda parts: EMMET([2], ridge=0.1, **parts),
    "PMET": lambda parts: PMET(
        [1, 2],
        0.1,
        0.1,
        **{**parts, "target_values": small.values(correct_nll_weight=0.1, correct_stop_kl=0.01)},
    ),
    "AlphaEdit": lambda parts: AlphaEdit([1, 2], BeyondRank(4), 0.1, schedule=PAIRS, **parts),
    "ENCORE": lambda parts: ENCORE(
        [1, 2], 0.1, 0.01, schedule=PAIRS, **{**parts, "target_values": small.values(stop_correct=3)}
    ),
    "ROME": lambda parts: ROME([2], ridge=0.1, **parts),
    "ROME without moments": lambda parts: ROME([2], use_moments=False, **parts),
    "FTL": lambda parts: FTL([2], max_change=0.5, training=TargetTraining(lr=0.05, epochs=20)),
    "FTL with teacher forcing": lambda parts: FTL(
        [2], None, True, TargetTraining(lr=0.05, epochs=20), constraint=PRUNE(), schedule=Schedule(paraphrases=1)
    ),
    "FTM": lambda parts: FTM([2], TargetTraining(lr=0.02, epochs=10)),
    "LocFTBF": lambda parts: LocFTBF([1, 2], training=TargetTraining(lr=0.05, epochs=20, minibatch=3)),
    "LoRAEdit": lambda parts: LoRAEdit(modules="all", r=2, training=TargetTraining(lr=0.05, epochs=20)),
    "RROME": lambda parts: RROME([2], ridge=0.1, **parts),
    "RROME with prompt keys": lambda parts: RROME([2], ridge=0.1, prompt_keys=True, **parts),
}


@pytest.fixture(params=EDITORS)
def editor(request, key_covariance):
    return EDITORS[request.param](
        {"target_values": small.values(), "contexts": small.contexts(), "key_covariance": key_covariance}
    )


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_edit_leaves_the_model_alone_and_its_delta_keeps_its_word(editor, family, tmp_path):
    language_model, made = small.model(family), small.requests()
    model, probe = language_model.model, Probe(made, language_model.tokenizer)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}

    def untouched():
        return all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())

    known = target_probability(probe.run(language_model))
    model.train()
    delta = editor.edit(language_model, made)
    assert untouched()
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    model.eval()

    assert set(delta.layers) == set(editor.edited_layers(language_model))
    assert editor.edit(language_model, made).hash() == delta.hash()
    delta.save(tmp_path / "delta.safetensors")
    loaded = Delta.load(tmp_path / "delta.safetensors")
    assert loaded.hash() == delta.hash()
    assert loaded.norms() == delta.norms()
    assert loaded.provenance == delta.provenance

    delta.apply(language_model)
    edited = {name: model.get_parameter(name).clone() for name in delta.updates}
    assert target_probability(probe.run(language_model)) > 2 * known
    delta.revert(language_model)
    assert untouched()
    loaded.apply(language_model)
    assert all(torch.equal(model.get_parameter(name), value) for name, value in edited.items())
    assert set(delta.updates) == {name for name in before if not torch.equal(before[name], model.get_parameter(name))}


def test_bad_requests_and_layers_are_refused(editor):
    language_model = small.model()
    with pytest.raises(ValueError, match="no edit requests"):
        editor.edit(language_model, [])
    bad = EditRequest("Oslo", "{} is in", "zzz", id="17")
    language_model.tokenizer.backend_tokenizer.normalizer = __import__("tokenizers").normalizers.Replace("zzz", "")
    language_model.model.forward = lambda *_, **__: 1 / 0
    with pytest.raises(ValueError, match=r"request 17 \(subject 'Oslo'\)"):
        editor.edit(language_model, [*small.requests(1), bad])
    editor.layers = [7]
    with pytest.raises(ValueError, match=r"layers names layer 7.*numbered 0 to 3"):
        editor.edit(language_model, small.requests())


def test_half_precision_models_are_edited_too(editor):
    language_model, made = small.model(dtype=torch.bfloat16), small.requests(3)
    probe = Probe(made, language_model.tokenizer)
    before = {name: parameter.clone() for name, parameter in language_model.model.named_parameters()}
    known = target_probability(probe.run(language_model))
    delta = editor.edit(language_model, made)
    assert all(torch.equal(before[name], item) for name, item in language_model.model.named_parameters())
    assert all(
        tensor.dtype == torch.float32 for update in delta.updates.values() for tensor in update.tensors().values()
    )
    delta.apply(language_model)
    assert target_probability(probe.run(language_model)) > 2 * known


def test_no_text_is_tokenised_twice(editor):
    language_model = small.model()
    requests, seen = small.requests(), []

    class Counting(type(language_model.tokenizer)):
        def __call__(self, text, **named):
            seen.extend([text] if isinstance(text, str) else text)
            return super().__call__(text, **named)

    language_model.tokenizer.__class__ = Counting
    editor.edit(language_model, requests)
    answered = [text for text in seen if any(text.endswith(f" {request.target_new}") for request in requests)]
    assert len(answered) == len(set(answered)) >= len(requests)
