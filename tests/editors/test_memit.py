from __future__ import annotations

import pytest
import tiny
import torch

from edit_lit.activations import Contexts
from edit_lit.activations.contexts import context_weights
from edit_lit.activations.token_rows import prompt_rows, statement_rows
from edit_lit.editors import MEMIT, TargetValues
from edit_lit.editors.closed_form.key_covariance import Spectrum
from edit_lit.editors.closed_form.preconditioners import InverseCovariance
from edit_lit.editors.closed_form.solver import solve_update
from edit_lit.editors.targets.search import find_target_values
from edit_lit.facts.request import EditRequest
from edit_lit.language_model.hooks import recorded_input, recorded_output
from edit_lit.language_model.modes import frozen
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import margin

OPTIONS = TargetValues(steps=6, chunk=2)


@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_the_update_minimises_the_published_objective(ridge):
    """λ (‖ΔC½‖² + γ‖Δ‖²) + ‖ΔK − R‖², by autograd: the gradient at the closed form vanishes."""
    torch.manual_seed(0)
    size, width, facts, weight = 12, 5, 4, 3.0
    root, keys, residuals = (torch.randn(*shape, dtype=torch.float64) for shape in ((12, 40), (12, 4), (5, 4)))
    moment = root @ root.T / 40
    left, right = solve_update(InverseCovariance(Spectrum.of(moment, 40), weight, ridge), keys, residuals)
    assert left.shape == (width, facts)
    assert right.shape == (size, facts)
    update = (left @ right.T).requires_grad_()
    shrink = ridge * moment.trace() / size * update.square().sum()
    objective = weight * ((update @ moment * update).sum() + shrink) + (update @ keys - residuals).square().sum()
    (gradient,) = torch.autograd.grad(objective, update)
    assert gradient.abs().max() < 1e-10
    # And by a dense n × n least-squares solution of the normal equations.
    shifted = weight * (moment + ridge * moment.trace() / size * torch.eye(size))
    expected = torch.linalg.solve(shifted + keys @ keys.T, keys @ residuals.T).T
    torch.testing.assert_close(update.detach(), expected)


def test_a_singular_moment_gives_a_finite_update():
    torch.manual_seed(0)
    root, keys = torch.randn(8, 3, dtype=torch.float64), torch.randn(8, 2, dtype=torch.float64)
    spectrum = Spectrum.of(root @ root.T, 3)
    left, right = solve_update(InverseCovariance(spectrum, 1.0), keys, torch.ones(4, 2))
    update = left @ right.T
    torch.testing.assert_close(update @ keys, torch.ones(4, 2, dtype=torch.float64), rtol=1e-4, atol=1e-4)
    assert (update @ root).abs().max() < 1e-4


def test_contexts_are_averaged_on_two_levels():
    torch.testing.assert_close(context_weights(6), torch.tensor([0.5] + [0.1] * 5, dtype=torch.float64))
    assert context_weights(1).tolist() == [1]


def test_sampled_contexts_depend_on_the_seed_only():
    language_model = tiny.llama()
    state = torch.random.get_rng_state()
    first = Contexts(words=("it", "the"), tokens=5).load(language_model)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first == Contexts(words=("it", "the"), tokens=5).load(language_model)
    assert first != Contexts(words=("it", "the"), tokens=5, seed=1).load(language_model)
    assert first[0] == "{}"
    assert all(
        text.startswith(word) and text.endswith(". {}") for word, text in zip(("it", "the"), first[1:], strict=True)
    )
    with pytest.raises(ValueError, match="contexts.templates holds 'no slot'"):
        Contexts(templates=["no slot"])


def slow_memit(language_model, made, editor, corpus_moments, targets, contexts):
    """MEMIT's loop with full forward passes, dense n × n systems and weights written as it goes."""
    weights, parameters = context_weights(len(contexts)), []
    prompts = prompt_rows(language_model.tokenizer, made, contexts)
    updates = []
    for place, layer in enumerate(editor.layers):
        keys, values = [], []
        for rows in prompts:
            of_fact = []
            for row in rows:
                with (
                    recorded_input(language_model.output_projection(layer)) as key,
                    recorded_output(language_model.blocks[editor.layers[-1]]) as value,
                ):
                    language_model.model(input_ids=torch.tensor([row.ids]))
                of_fact.append(key.take()[0, row.subject_last])
                if row is rows[0]:
                    values.append(value.take()[0, row.subject_last])
            keys.append((torch.stack(of_fact) * weights[:, None]).sum(0))
        keys, residuals = torch.stack(keys, 1), (targets - torch.stack(values)).T / (len(editor.layers) - place)
        system = editor.covariance_weight * corpus_moments[layer] + keys @ keys.T
        update = torch.linalg.solve(system, keys @ residuals.T).T
        weight = language_model.output_projection(layer).weight
        stored = update if weight.shape == update.shape else update.T
        parameters.append((weight, weight.detach().clone()))
        weight += stored
        updates.append(stored)
    for weight, original in parameters:
        weight.copy_(original)
    return updates


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2])
def test_memit_equals_full_passes_and_dense_systems(make, corpus, tmp_path):
    language_model, made = make(), tiny.requests()
    editor = tiny.memit(corpus, str(tmp_path))
    before = {name: parameter.clone() for name, parameter in language_model.model.named_parameters()}
    language_model.train()
    delta = editor.edit(language_model, made)
    assert all(torch.equal(parameter, before[name]) for name, parameter in language_model.model.named_parameters())
    assert all(parameter.requires_grad for parameter in language_model.model.parameters())
    assert language_model.model.training
    language_model.eval()

    contexts = editor.contexts.load(language_model)
    with frozen(language_model.model):
        targets = find_target_values(
            editor.target_values,
            language_model,
            2,
            prompt_rows(language_model.tokenizer, made, contexts),
            statement_rows(language_model.tokenizer, made, "{} is a"),
        ).values
    spectra = editor.key_covariance.spectra(language_model, editor.layers)
    key_covariance = {layer: item.vectors @ torch.diag(item.values) @ item.vectors.T for layer, item in spectra.items()}
    with torch.no_grad():
        expected = slow_memit(language_model, made, editor, key_covariance, targets, contexts)
    assert delta.layers == (1, 2)
    for update, dense in zip(delta.updates.values(), expected, strict=True):
        # The factors are kept in float32.
        assert (update.dense() - dense).norm() / dense.norm() < 1e-5


def test_the_edit_is_deterministic_raises_the_targets_and_notes_its_health(corpus, tmp_path):
    language_model, made = tiny.llama(), tiny.requests()
    values = TargetValues(steps=25, clamp=30.0, weight_decay=1e-3)
    editor = tiny.memit(corpus, str(tmp_path), target_values=values)
    probe = Probe(made, language_model.tokenizer)
    before = margin(probe.run(language_model))
    delta = editor.edit(language_model, made)
    assert editor.edit(language_model, made).hash() == delta.hash()
    delta.apply(language_model)
    assert margin(probe.run(language_model)) > before + 0.1
    diagnostics = delta.provenance.diagnostics
    assert set(diagnostics["condition"]) == {"1", "2"}
    assert delta.provenance.editor.endswith("MEMIT")
    assert delta.provenance.options["target_values"]["steps"] == 25


def test_the_chunk_size_does_not_change_the_edit(corpus, tmp_path):
    language_model, made = tiny.llama(), tiny.requests(5)
    alone, together = (
        tiny.memit(corpus, str(tmp_path), target_values=TargetValues(steps=6, chunk=chunk)).edit(language_model, made)
        for chunk in (1, 5)
    )
    for name, update in alone.updates.items():
        torch.testing.assert_close(together.updates[name].dense(), update.dense(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda corpus, cache: tiny.memit(corpus, cache).edit(tiny.llama(), []), "no edit requests"),
        (
            lambda corpus, cache: tiny.memit(corpus, cache, layers=[3, 4]).edit(tiny.llama(), tiny.requests()),
            "layers names layer 4.*numbered 0 to 3",
        ),
        (lambda corpus, cache: MEMIT(layers=[2, 1]), r"layers is \[2, 1\].*ascending"),
        (lambda corpus, cache: MEMIT(covariance_weight=0), "covariance_weight is 0"),
        (lambda corpus, cache: MEMIT(ridge=-1), "ridge is -1"),
        (lambda corpus, cache: TargetValues(steps=1), "target_values.steps is 1"),
        (lambda corpus, cache: TargetValues(chunk=0), "target_values.chunk is 0"),
        (lambda corpus, cache: TargetValues(kl_anchor_prompt="is a"), "target_values.kl_anchor_prompt"),
    ],
)
def test_bad_options_are_refused(make, message, corpus, tmp_path):
    with pytest.raises(ValueError, match=message):
        make(corpus, str(tmp_path))


def test_a_request_that_cannot_be_tokenised_is_refused_before_any_computation(corpus, tmp_path, monkeypatch):
    language_model = tiny.llama()
    language_model.tokenizer.backend_tokenizer.normalizer = __import__("tokenizers").normalizers.Replace("zzz", "")
    monkeypatch.setattr(language_model.model, "forward", lambda *_, **__: 1 / 0)
    bad = EditRequest("zzz", "{} lies in", "north", id="17")
    with pytest.raises(ValueError, match=r"request 17 \(subject 'zzz'\)"):
        tiny.memit(corpus, str(tmp_path)).edit(language_model, [*tiny.requests(), bad])


def test_default_layers_scale_with_depth():
    assert MEMIT().edited_layers(tiny.llama(layers=8)) == [1, 2]
    assert MEMIT().edited_layers(tiny.llama(layers=32)) == [4, 5, 6, 7, 8]
