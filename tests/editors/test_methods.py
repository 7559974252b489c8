"""What sets each method apart, on a tiny model, against slow code that reads like its description."""

from __future__ import annotations

from dataclasses import replace

import pytest
import small
import torch

from edit_lit.activations import Contexts
from edit_lit.activations.hook_points import BlockOutput, MLPAndAttention, MLPOutput
from edit_lit.activations.token_rows import prompt_rows, statement_rows
from edit_lit.deltas.updates import Dense
from edit_lit.editors import (
    EMMET,
    ENCORE,
    MEMIT,
    PMET,
    ROME,
    RROME,
    AlphaEdit,
    Anchor,
    BelowValue,
    BeyondRank,
    MEMITSequential,
    Schedule,
)
from edit_lit.editors.base.constraints import PRUNE, RECT
from edit_lit.editors.base.weight_workspace import WeightWorkspace
from edit_lit.editors.targets.search import find_target_values
from edit_lit.language_model.modes import frozen


@pytest.fixture
def parts(key_covariance):
    return {"target_values": small.values(), "contexts": small.contexts(), "key_covariance": key_covariance}


def linear(language_model, layer):
    """The projection's weight as outputs × inputs."""
    weight = language_model.output_projection(layer).weight.detach()
    return weight if len(weight) == language_model.hidden_size else weight.T


def moment_of(key_covariance, language_model, layer):
    spectrum = key_covariance.spectra(language_model, [layer])[layer]
    return spectrum.vectors @ torch.diag(spectrum.values) @ spectrum.vectors.T


def test_pmet_spreads_by_the_square_root():
    assert [PMET().residual_fraction(left) for left in (4, 1)] == [0.5, 1.0]
    assert [MEMIT().residual_fraction(left) for left in (4, 1)] == [0.25, 1.0]


def test_rome_writes_its_target_to_the_bare_key_and_rrome_to_the_mean_key(parts):
    language_model, made = small.model("gpt2"), small.requests(1)
    parts["contexts"] = replace(small.contexts(), uniform_weights=True)
    target = small.optimised(language_model, parts["target_values"], MLPOutput(), count=1).values[0]
    reading = small.readings(language_model, made, 2, MLPOutput(), uniform_weights=True)
    moment = moment_of(parts["key_covariance"], language_model, 2)
    moment += 0.1 * moment.trace() / len(moment) * torch.eye(len(moment), dtype=moment.dtype)
    weight = linear(language_model, 2)
    bias = language_model.output_projection(2).bias.detach()
    for editor, key in (
        (ROME([2], ridge=0.1, **parts), reading.bare_keys[0]),
        (RROME([2], ridge=0.1, **parts), reading.keys[0]),
        (RROME([2], ridge=0.1, prompt_keys=True, **parts), reading.bare_keys[0]),
    ):
        (update,) = editor.edit(language_model, made).updates.values()
        torch.testing.assert_close((weight + update.dense().T) @ key + bias, target, rtol=1e-5, atol=1e-5)
        direction = torch.linalg.solve(moment, key if editor.__class__ is RROME else reading.keys[0])
        direction /= direction.norm()
        found = update.dense().T
        torch.testing.assert_close(found @ torch.outer(direction, direction), found, rtol=1e-4, atol=1e-5)


def test_rome_without_moments_writes_along_the_key_itself(parts):
    language_model, made = small.model("gpt2"), small.requests(1)
    (update,) = RROME([2], use_moments=False, **parts).edit(language_model, made).updates.values()
    key = small.readings(language_model, made, 2, MLPOutput()).keys[0]
    key /= key.norm()
    found = update.dense().T
    torch.testing.assert_close(found @ torch.outer(key, key), found, rtol=1e-4, atol=1e-5)


def test_emmet_for_one_fact_takes_its_mean_key_to_the_value(parts):
    language_model, made = small.model("llama"), small.requests(1)
    reading = small.readings(language_model, made, 2)
    target = small.optimised(language_model, parts["target_values"], BlockOutput(), count=1).values
    (update,) = EMMET([2], covariance_weight=7.0, ridge=0.1, **parts).edit(language_model, made).updates.values()
    moved = reading.keys @ update.dense().T
    torch.testing.assert_close(moved, target - reading.values, rtol=1e-4, atol=1e-4)


def sequential_systems(language_model, editor, made, size, system):
    """Committed batches with dense n × n systems, full forward passes and public code's second pass for the keys."""
    layers, past = editor.layers, dict.fromkeys(editor.layers, 0.0)
    originals = {layer: language_model.output_projection(layer).weight.clone() for layer in layers}
    for start in range(0, len(made), size):
        batch = made[start : start + size]
        prompts = prompt_rows(language_model.tokenizer, batch, small.CONTEXTS)
        kl_anchors = statement_rows(language_model.tokenizer, batch, "{} is a")
        with frozen(language_model.model):
            targets = find_target_values(editor.target_values, language_model, layers[-1], prompts, kl_anchors).values
        for place, layer in enumerate(layers):
            keys = small.readings(language_model, batch, layer).keys.T
            residual = (targets - small.readings(language_model, batch, layers[-1]).values).T / (len(layers) - place)
            with torch.no_grad():
                language_model.output_projection(layer).weight += system(layer, past[layer], keys, residual)
        for layer in layers:
            keys = small.readings(language_model, batch, layer).keys.T
            past[layer] = past[layer] + keys @ keys.T
    updates = []
    for layer in layers:
        weight = language_model.output_projection(layer).weight
        with torch.no_grad():
            updates.append(weight - originals[layer])
            weight.copy_(originals[layer])
    return updates


@pytest.mark.parametrize(("facts", "size"), [(6, 2), (30, 26)], ids=["few", "more than dimensions"])
def test_memit_sequential_alphaedit_and_encore_equal_their_dense_loops(parts, facts, size):
    language_model, made = small.model("llama"), small.requests(facts)
    layers, schedule = [1, 2], Schedule(batch_size=size)
    key_covariance = {layer: moment_of(parts["key_covariance"], language_model, layer) for layer in layers}
    eye = torch.eye(24, dtype=torch.float64)
    early = {**parts, "target_values": small.values(stop_correct=2)}

    def ridge(weight, shift):
        def system(layer, past, keys, residual):
            return torch.linalg.solve(
                weight * key_covariance[layer] + shift(layer) + past + keys @ keys.T, keys @ residual.T
            ).T

        return system

    def null_space(layer, past, keys, residual):
        values, vectors = torch.linalg.eigh(key_covariance[layer])
        projector = vectors[:, values < 0.5] @ vectors[:, values < 0.5].T
        assert 0 < projector.trace() < 23.5
        return torch.linalg.solve(projector @ (keys @ keys.T + past) + 0.1 * eye, projector @ keys @ residual.T).T

    def share(layer):
        return 0.2 * 0.1 * key_covariance[layer].trace() / 24 * eye

    for editor, system in (
        (MEMITSequential(layers, 0.2, 0.1, schedule=schedule, **parts), ridge(0.2, share)),
        (ENCORE(layers, 0.2, 0.05, schedule=schedule, **early), ridge(0.2, lambda _: 0.05 * eye)),
        (AlphaEdit(layers, BelowValue(0.5), 0.1, schedule=schedule, **parts), null_space),
    ):
        expected = sequential_systems(language_model, editor, made, size, system)
        for update, dense in zip(editor.edit(language_model, made).updates.values(), expected, strict=True):
            assert (update.dense() - dense).norm() < 1e-5 * dense.norm()


def test_a_constraint_on_the_sum_limits_what_an_editor_writes(parts):
    """PRUNE leaves the batches as they are and shrinks their sum against the unedited weight."""
    language_model, made, options = small.model("llama"), small.requests(4), ([1], 0.2, 0.1)
    schedule = Schedule(batch_size=2)
    (free,) = MEMITSequential(*options, schedule=schedule, **parts).edit(language_model, made).updates.values()
    limited = MEMITSequential(*options, constraint=PRUNE(), schedule=schedule, **parts)
    (pruned,) = limited.edit(language_model, made).updates.values()
    largest = torch.linalg.svdvals(linear(language_model, 1))[0]
    left, values, right = torch.linalg.svd(free.dense(), full_matrices=False)
    assert values[0] > 1.5 * largest
    shrunk = torch.where(values > largest, largest + (values / largest).log(), values)
    torch.testing.assert_close(pruned.dense(), left @ shrunk.diag() @ right, rtol=1e-4, atol=1e-5)


def test_a_constraint_on_the_step_limits_each_batch(parts):
    """RECT drops three quarters of the entries of each batch, and the next batch starts from what is left."""
    language_model, made, options = small.model("llama"), small.requests(4), ([1], 0.2, 0.1)
    weight = language_model.output_projection(1).weight
    original = weight.detach().clone()
    total = torch.zeros_like(original)
    for batch in (made[:2], made[2:]):
        (free,) = MEMIT(*options, **parts).edit(language_model, batch).updates.values()
        change = (free.dense() / weight.detach()).abs()
        step = torch.where(change >= change.flatten().sort(descending=True).values[change.numel() // 4 - 1], 1.0, 0.0)
        total += step * free.dense()
        with torch.no_grad():
            weight.copy_(original + total)
    with torch.no_grad():
        weight.copy_(original)
    limited = MEMIT(*options, constraint=RECT(keep=0.25), schedule=Schedule(batch_size=2), **parts)
    (kept,) = limited.edit(language_model, made).updates.values()
    torch.testing.assert_close(kept.dense(), total, rtol=1e-4, atol=1e-5)


def test_a_batch_is_what_its_facts_are_one_by_one():
    """Target values and keys of a fact do not depend on its company."""
    language_model, made = small.model("llama"), small.requests()
    for hook_point in (BlockOutput(), MLPOutput(), MLPAndAttention()):
        together = small.optimised(language_model, small.values(chunk=4), hook_point)
        alone = small.optimised(language_model, small.values(chunk=1), hook_point)
        torch.testing.assert_close(together.values, alone.values)
    keys = small.readings(language_model, made, 2).keys
    for place, request in enumerate(made):
        torch.testing.assert_close(small.readings(language_model, [request], 2).keys[0], keys[place])


def test_romes_contexts_are_samples_of_two_lengths():
    language_model = small.model("gpt2")
    contexts = ROME().contexts.load(language_model)
    assert len(contexts) == 21
    assert contexts[0] == "{}"
    # One token is the beginning of the text, which is not written; the prompt's place stands in for it in the count.
    lengths = [len(text.split()) for text in contexts[1:]]
    assert max(lengths[:10]) == 5
    assert max(lengths[10:]) == 10
    assert min(lengths[10:]) > 5
    assert len(set(contexts)) > 15


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ROME(schedule=Schedule()), "schedule.batch_size is None, but ROME writes one fact"),
        (lambda: ROME([1, 2]).edited_layers(small.model()), r"layers is \[1, 2\], but ROME edits one layer"),
        (lambda: EMMET(epsilon=-1), "epsilon is -1"),
        (lambda: AlphaEdit(l2=0), "l2 is 0"),
        (lambda: ENCORE(norm_weight=-1), "norm_weight is -1"),
        (lambda: PMET(covariance_weight=0), "covariance_weight is 0"),
        (lambda: BeyondRank(0), "null_space.rank is 0"),
        (lambda: Schedule(batch_size=0), "schedule.batch_size is 0"),
        (lambda: Schedule(passes=0), "schedule.passes is 0"),
        (lambda: small.values(stop_correct=0), "stop_correct is 0"),
        (lambda: Anchor(share=0), "anchor.share is 0"),
        (
            lambda: MEMIT(
                target_values=small.values(stop_correct=1, correct_without_bare=True), contexts=Contexts(templates=[])
            ),
            "contexts.templates has the bare prompt only",
        ),
        (lambda: Contexts(templates=["no slot"]), "contexts.templates"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_null_space_without_room_is_refused(parts):
    with pytest.raises(ValueError, match=r"leaves no direction free.*Raise the threshold"):
        AlphaEdit([1], BelowValue(1e-30), **parts).edit(small.model(), small.requests())


def test_an_option_without_effect_warns():
    with pytest.warns(UserWarning, match="stop_gap has no effect"):
        Schedule(stop_gap=1.0)
    with pytest.warns(UserWarning, match="correct_without_bare has no effect"):
        small.values(correct_without_bare=True)
    with pytest.warns(UserWarning, match="ridge has no effect without use_moments"):
        ROME(use_moments=False, ridge=0.1)


def test_updates_that_half_precision_would_lose_add_up():
    language_model = small.model(dtype=torch.bfloat16)
    weight = language_model.output_projection(1).weight
    original = weight.detach().clone()
    step = original.double().abs().mean() * 1e-4
    with WeightWorkspace(language_model, [1]) as weights:
        for _ in range(1000):
            weights.add(1, Dense(torch.full(original.shape, float(step), dtype=torch.float64)))
        assert torch.equal(weight.detach(), (original.double() + 1000 * step).bfloat16())
        (update,) = weights.total().values()
    assert torch.equal(weight.detach(), original)
    torch.testing.assert_close(update.dense(), torch.full_like(update.dense(), float(1000 * step)), rtol=1e-4, atol=0)
