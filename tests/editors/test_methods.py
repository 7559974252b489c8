"""What sets each method apart, on a tiny model, against slow code that reads like its description."""

from __future__ import annotations

from dataclasses import replace

import pytest
import small
import torch

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
    Contexts,
    MEMITSequential,
    NormAnchor,
    Schedule,
)
from edit_lit.editors.edited_weights import EditedWeights
from edit_lit.editors.keys import KeyStream
from edit_lit.editors.prompts import prompt_rows, statement_rows
from edit_lit.editors.sites import BlockOutput, MLPAndAttention, MLPOutput
from edit_lit.editors.spread_gap import target_perplexity
from edit_lit.editors.updates import Dense
from edit_lit.tracing import frozen


@pytest.fixture
def parts(moments):
    return {"target_values": small.values(), "contexts": small.contexts(), "moments": moments}


def optimised(language_model, options, site, count=4, layer=2, contexts=small.CONTEXTS):
    made = small.requests(count)
    prompts = prompt_rows(language_model.tokenizer, made, contexts)
    with frozen(language_model.model):
        return options.optimise(
            language_model, layer, prompts, statement_rows(language_model.tokenizer, made, "{} is a"), site
        )


def readings(language_model, requests, layer, site=BlockOutput(), contexts=small.CONTEXTS, flat=False):
    stream = KeyStream(
        language_model, prompt_rows(language_model.tokenizer, requests, contexts), layer, flat=flat, site=site
    )
    return stream.read(layer)


def linear(language_model, layer):
    """The projection's weight as outputs × inputs."""
    weight = language_model.output_projection(layer).weight.detach()
    return weight if len(weight) == language_model.hidden_size else weight.T


def moment_of(moments, language_model, layer):
    spectrum = moments.spectra(language_model, [layer])[layer]
    return spectrum.vectors @ torch.diag(spectrum.values) @ spectrum.vectors.T


@pytest.mark.parametrize("family", ["llama", "opt", "gptj"])
def test_moving_the_mlp_moves_the_block_by_as_much(family):
    """Without the clamp and decay, whose scales differ, both searches are one in a block that adds its MLP."""
    language_model = small.model(family)
    options = small.values(clamp=1e9, weight_decay=0.0, steps=8)
    made = small.requests()
    moves = [
        optimised(language_model, options, site).values - readings(language_model, made, 2, site).values
        for site in (BlockOutput(), MLPOutput())
    ]
    torch.testing.assert_close(moves[0], moves[1])
    assert moves[0].norm(dim=1).min() > 1


def slow_pmet(language_model, request, options, layer):
    """One fact, one row at a time, through the whole model, with a vector for the MLP and one for attention."""
    tokenizer = language_model.tokenizer
    (rows,) = prompt_rows(tokenizer, [request], small.CONTEXTS)
    (essence,) = statement_rows(tokenizer, [request], options.essence)
    modules = [language_model.output_projection(layer), language_model.attention_projection(layer)]
    deltas = [torch.zeros(16, dtype=torch.float64, requires_grad=True) for _ in modules]
    state, origins = {"lookup": 0, "add": False}, [None, None]

    def mover(place):
        def move(module, inputs, output):
            if not state["add"]:
                origins[place] = output[0, state["lookup"]].detach().clone()
                return output
            output = output.clone()
            output[0, state["lookup"]] += deltas[place]
            return output

        return move

    handles = [module.register_forward_hook(mover(place)) for place, module in enumerate(modules)]

    def log_p(row):
        state["lookup"] = row.lookup
        return language_model.model(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)

    before = log_p(essence)[essence.lookup].detach()
    log_p(rows[0])
    state["add"], factor = True, 1.0
    optimizer = torch.optim.Adam(deltas, lr=options.lr)
    for step in range(options.steps):
        nll, correct = 0.0, True
        for row in rows:
            scores = log_p(row)
            places = range(len(row.ids) - len(row.answer), len(row.ids))
            nll = nll - sum(scores[place, token] for place, token in zip(places, row.answer, strict=True)) / len(places)
            correct &= all(scores[place].argmax() == token for place, token in zip(places, row.answer, strict=True))
        now = log_p(essence)[essence.lookup]
        kl = options.kl_weight * (now.exp() * (now - before)).sum()
        decay = sum(delta.norm() / origin.norm() ** 2 for delta, origin in zip(deltas, origins, strict=True))
        loss = factor * nll / len(rows) + kl + options.weight_decay * decay
        factor = options.correct_nll_weight if correct else 1.0
        if loss < options.stop_loss or (correct and kl <= options.correct_stop_kl) or step == options.steps - 1:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for delta, origin in zip(deltas, origins, strict=True):
                delta *= min(1.0, float(options.clamp * origin.norm() / delta.norm()))
    for handle in handles:
        handle.remove()
    return (origins[0] + deltas[0]).detach(), step + 1


def test_pmet_searches_with_mlp_and_attention_together():
    language_model = small.model("llama")
    options = small.values(steps=20, correct_nll_weight=0.1, correct_stop_kl=0.02, kl_weight=0.01, clamp=5.0)
    found = optimised(language_model, options, MLPAndAttention())
    for place, request in enumerate(small.requests()):
        value, steps = slow_pmet(language_model, request, options, 2)
        torch.testing.assert_close(found.values[place], value)
        assert found.steps[place] == steps
    assert found.steps.min() < 20, "some fact should stop early, or that rule is not tested"


def test_pmet_spreads_by_the_square_root(parts, monkeypatch):
    assert [PMET().share(left) for left in (4, 1)] == [0.5, 1.0]
    assert [MEMIT().share(left) for left in (4, 1)] == [0.25, 1.0]


@pytest.mark.parametrize("times", [1, 3])
def test_most_probable_early_stopping_counts_passes(times):
    """A fact ends at the given number of passes, counted together, in which its target is on top everywhere."""
    language_model = small.model("gpt2")
    passes = [optimised(language_model, small.values(steps=steps), BlockOutput()) for steps in range(2, 16)]
    stopped = optimised(language_model, small.values(stop_correct=times), BlockOutput())
    assert int(stopped.steps.min()) < 14
    for fact in range(4):
        step = int(stopped.steps[fact])
        torch.testing.assert_close(stopped.values[fact], passes[step - 2].values[fact])
    assert torch.equal(stopped.unfinished, stopped.steps == 15)
    later = optimised(language_model, small.values(stop_correct=times + 1), BlockOutput())
    assert (later.steps > stopped.steps).any()
    assert (later.steps >= stopped.steps).all()


def test_anchored_values_move_in_few_dimensions():
    language_model = small.model("llama")
    origin = readings(language_model, small.requests(), 2).values
    for warm in (False, True):
        anchor = Anchor(share=0.25, first_steps=5, warm_start=warm)
        moved = optimised(language_model, small.values(anchor=anchor, steps=6), BlockOutput()).values - origin
        assert ((moved.abs() > 1e-12).sum(1) == 4).all()
    free = optimised(language_model, small.values(steps=5), BlockOutput()).values - origin
    assert (free != 0).all()


@pytest.mark.parametrize("site", [BlockOutput(), MLPOutput()])
def test_anchored_norms_are_the_usual_ones_or_the_fact_is_given_up(site):
    language_model, made = small.model("llama"), small.requests()
    prompts = prompt_rows(language_model.tokenizer, made, small.CONTEXTS)
    mlp = readings(language_model, made, 2, MLPOutput()).values
    now = readings(language_model, made, 2, site).values
    usual = float(mlp.norm(dim=1).sort().values[:3].mean())
    anchor = NormAnchor(drop=0.25, skip=2.0)
    assert anchor.usual_norm(language_model, prompts, 2) == pytest.approx(usual)
    moves = torch.randn(4, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.1
    moves[1] *= 1000
    targets = anchor.anchored(language_model, prompts, 2, site, now + moves, usual)
    torch.testing.assert_close(targets[1], now[1])
    rest = [0, 2, 3]
    found = (targets - now + mlp)[rest]
    torch.testing.assert_close(found.norm(dim=1), torch.full((3,), usual, dtype=torch.float64))
    torch.testing.assert_close(torch.cosine_similarity(found, (mlp + moves)[rest]), torch.ones(3, dtype=torch.float64))


def test_rome_writes_its_target_to_the_bare_key_and_rrome_to_the_mean_key(parts):
    language_model, made = small.model("gpt2"), small.requests(1)
    parts["contexts"] = replace(small.contexts(), flat=True)
    target = optimised(language_model, parts["target_values"], MLPOutput(), count=1).values[0]
    reading = readings(language_model, made, 2, MLPOutput(), flat=True)
    moment = moment_of(parts["moments"], language_model, 2)
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
    key = readings(language_model, made, 2, MLPOutput()).keys[0]
    key /= key.norm()
    found = update.dense().T
    torch.testing.assert_close(found @ torch.outer(key, key), found, rtol=1e-4, atol=1e-5)


def test_emmet_for_one_fact_takes_its_mean_key_to_the_value(parts):
    language_model, made = small.model("llama"), small.requests(1)
    reading = readings(language_model, made, 2)
    target = optimised(language_model, parts["target_values"], BlockOutput(), count=1).values
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
        essences = statement_rows(language_model.tokenizer, batch, "{} is a")
        with frozen(language_model.model):
            targets = editor.target_values.optimise(language_model, layers[-1], prompts, essences).values
        for place, layer in enumerate(layers):
            keys = readings(language_model, batch, layer).keys.T
            residual = (targets - readings(language_model, batch, layers[-1]).values).T / (len(layers) - place)
            with torch.no_grad():
                language_model.output_projection(layer).weight += system(layer, past[layer], keys, residual)
        for layer in layers:
            keys = readings(language_model, batch, layer).keys.T
            past[layer] = past[layer] + keys @ keys.T
    updates = []
    for layer in layers:
        weight = language_model.output_projection(layer).weight
        with torch.no_grad():
            updates.append(weight - originals[layer])
            weight.copy_(originals[layer])
    return updates


def test_memit_sequential_alphaedit_and_encore_equal_their_dense_loops(parts):
    language_model, made = small.model("llama"), small.requests(6)
    layers, schedule = [1, 2], Schedule(batch_size=2)
    moments = {layer: moment_of(parts["moments"], language_model, layer) for layer in layers}
    eye = torch.eye(24, dtype=torch.float64)
    early = {**parts, "target_values": small.values(stop_correct=2)}

    def ridge(weight, shift):
        def system(layer, past, keys, residual):
            return torch.linalg.solve(
                weight * moments[layer] + shift(layer) + past + keys @ keys.T, keys @ residual.T
            ).T

        return system

    def null_space(layer, past, keys, residual):
        values, vectors = torch.linalg.eigh(moments[layer])
        projector = vectors[:, values < 0.5] @ vectors[:, values < 0.5].T
        assert 0 < projector.trace() < 23.5
        return torch.linalg.solve(projector @ (keys @ keys.T + past) + 0.1 * eye, projector @ keys @ residual.T).T

    def share(layer):
        return 0.2 * 0.1 * moments[layer].trace() / 24 * eye

    for editor, system in (
        (MEMITSequential(layers, 0.2, 0.1, schedule=schedule, **parts), ridge(0.2, share)),
        (ENCORE(layers, 0.2, 0.05, schedule=schedule, **early), ridge(0.2, lambda _: 0.05 * eye)),
        (AlphaEdit(layers, BelowValue(0.5), 0.1, schedule=schedule, **parts), null_space),
    ):
        expected = sequential_systems(language_model, editor, made, 2, system)
        for update, dense in zip(editor.edit(language_model, made).updates.values(), expected, strict=True):
            assert (update.dense() - dense).norm() < 1e-5 * dense.norm()


def test_batches_without_commit_and_a_second_pass_start_from_the_edited_model(parts):
    """Writing again, and writing the next batch, are what editing the edited model is."""
    language_model, made = small.model("llama"), small.requests()
    options = {"covariance_weight": 0.1, "ridge": 0.1}
    for schedule, first, second in (
        (Schedule(batch_size=2), made[:2], made[2:]),
        (Schedule(passes=2), made, made),
    ):
        spectra = parts["moments"].spectra(language_model, [1, 2])
        whole = MEMIT([1, 2], schedule=schedule, **options, **parts).edit(language_model, made)
        one = MEMIT([1, 2], **options, **parts).edit(language_model, first)
        one.apply(language_model.model)
        editor = MEMIT([1, 2], **options, **parts)
        editor.moments = type("Given", (), {"spectra": lambda *_, kept=spectra: kept})()
        editor.provenance = lambda *_, delta=one: delta.provenance
        two = editor.edit(language_model, second)
        one.revert(language_model.model)
        for name, update in whole.updates.items():
            dense = one.updates[name].dense() + two.updates[name].dense()
            assert (update.dense() - dense).norm() < 1e-4 * dense.norm()


def test_a_small_gap_ends_the_passes(parts, caplog):
    caplog.set_level("INFO", logger="edit_lit")
    language_model, made = small.model("llama"), small.requests(2)
    for gap, passes in ((1e9, 1), (0.0, 3)):
        caplog.clear()
        MEMIT([1, 2], 0.1, 0.1, schedule=Schedule(passes=3, stop_gap=gap), **parts).edit(language_model, made)
        assert sum("perplexity of the targets" in record.message for record in caplog.records) == passes


def test_a_batch_is_what_its_facts_are_one_by_one(parts):
    """Target values and keys of a fact do not depend on its company."""
    language_model, made = small.model("llama"), small.requests()
    for site in (BlockOutput(), MLPOutput(), MLPAndAttention()):
        together = optimised(language_model, small.values(chunk=4), site)
        alone = optimised(language_model, small.values(chunk=1), site)
        torch.testing.assert_close(together.values, alone.values)
    keys = readings(language_model, made, 2).keys
    for place, request in enumerate(made):
        torch.testing.assert_close(readings(language_model, [request], 2).keys[0], keys[place])


def test_paraphrases_are_written_as_requests_of_their_own():
    made = small.requests(2)
    batches = Schedule(batch_size=1, paraphrases=2).batches(made)
    assert [[request.question for request in batch] for batch in batches] == [
        [request.question, *request.paraphrases] for request in made
    ]
    assert {request.target_new for request in batches[1]} == {made[1].target_new}
    with pytest.raises(ValueError, match=r"request 0 .*schedule.paraphrases is 3, but it has 2"):
        Schedule(paraphrases=3).batches(made)
    with pytest.raises(ValueError, match="does not name the subject"):
        Schedule(paraphrases=1).batches([replace(made[0], paraphrases=("the town is in the",))])


def test_romes_contexts_are_samples_of_two_lengths():
    language_model = small.model("gpt2")
    contexts = ROME().contexts.load(language_model)
    assert len(contexts) == 21
    assert contexts[0] == "{}"
    assert [len(text.split()) for text in contexts[1:11]] == [len(text.split()) for text in contexts[1:11]]
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
    with pytest.warns(UserWarning, match="ridge has no effect without use_moments"):
        ROME(use_moments=False, ridge=0.1)


def test_the_perplexity_of_the_targets_is_that_of_the_whole_model():
    language_model, made = small.model("gpt2"), small.requests()
    rows = prompt_rows(language_model.tokenizer, made, small.CONTEXTS)
    perplexities = []
    for of_fact in rows:
        losses = []
        for row in of_fact:
            scores = language_model.model(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
            losses.append(-scores[-len(row.answer) :].gather(1, torch.tensor(row.answer)[:, None]).mean())
        perplexities.append(torch.stack(losses).mean().exp())
    assert target_perplexity(language_model, rows) == pytest.approx(float(torch.stack(perplexities).mean().detach()))


def test_updates_that_half_precision_would_lose_add_up():
    language_model = small.model(dtype=torch.bfloat16)
    weight = language_model.output_projection(1).weight
    original = weight.detach().clone()
    step = original.double().abs().mean() * 1e-4
    with EditedWeights(language_model, [1]) as weights:
        for _ in range(1000):
            weights.add(1, Dense(torch.full(original.shape, float(step), dtype=torch.float64)))
        assert torch.equal(weight.detach(), (original.double() + 1000 * step).bfloat16())
        (update,) = weights.total().values()
    assert torch.equal(weight.detach(), original)
    torch.testing.assert_close(update.dense(), torch.full_like(update.dense(), float(1000 * step)), rtol=1e-4, atol=0)
