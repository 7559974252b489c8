"""Target values against a search that takes one fact and one row at a time through the whole model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import small
import tiny
import torch

from edit_lit.activations import Contexts
from edit_lit.activations.hook_points import BlockOutput
from edit_lit.activations.token_rows import neighbor_rows, prompt_rows, statement_rows
from edit_lit.editors import MEMIT, TargetValues
from edit_lit.editors.closed_form import editor as closed_form_editor
from edit_lit.editors.closed_form.solver import solve_update
from edit_lit.editors.targets.search import find_target_values
from edit_lit.facts.request import Question
from edit_lit.language_model.hooks import shifted_output
from edit_lit.language_model.modes import frozen
from edit_lit.utilities.errors import ConfigError

OPTIONS = TargetValues(steps=6, chunk=2)
EASY = TargetValues(steps=25, chunk=3, clamp=30.0, weight_decay=1e-3, stop_loss=3.2)


def slow_target_value(language_model, rows, kl_anchor_prompt, layer, options, old=()):
    """One fact, one row at a time, through the whole model: the optimisation as it is published."""
    block = language_model.blocks[layer]
    state = {"delta": None, "subject_last": 0, "seen": None}

    def move(module, inputs, output):
        hidden = output[0] if isinstance(output, tuple) else output
        state["seen"] = hidden[0, state["subject_last"]].detach().clone()
        if state["delta"] is not None:
            hidden = hidden.clone()
            hidden[0, state["subject_last"]] += state["delta"]
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    def log_p(row):
        state["subject_last"] = row.subject_last
        return language_model.model(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)

    def answer(row):
        """log p per token of a row's answer."""
        scores, first = log_p(row), len(row.ids) - len(row.answer)
        return sum(scores[first + place, token] for place, token in enumerate(row.answer)) / len(row.answer)

    def loss_at(delta):
        state["delta"] = delta
        said = [answer(row) for row in rows]
        now = log_p(kl_anchor_prompt)[kl_anchor_prompt.subject_last]
        loss = -sum(said) / len(rows) + options.kl_weight * (now.exp() * (now - before)).sum()
        loss = loss + options.weight_decay * delta.norm() / origin.norm() ** 2
        if options.margin is None:
            return loss, 0.0
        lead = sum(new - answer(row) for new, row in zip(said, old)) / len(old)  # noqa: B905 - neighbors come last
        lacking = torch.clamp(options.margin - lead, min=0.0)
        return loss + lacking, lacking.item()

    handle = block.register_forward_hook(move)
    before = log_p(kl_anchor_prompt)[kl_anchor_prompt.subject_last].detach()
    log_p(rows[0])
    origin = state["seen"]
    delta = torch.zeros(language_model.hidden_size, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([delta], lr=options.lr)
    for step in range(options.steps):
        loss, lacking = loss_at(delta)
        if (loss < options.stop_loss and not lacking) or step == options.steps - 1:
            break
        (gradient,) = torch.autograd.grad(loss, delta)
        if options.sharpness:
            above = delta.detach() + options.sharpness * origin.norm() * gradient / gradient.norm()
            above.requires_grad_()
            (gradient,) = torch.autograd.grad(loss_at(above)[0], above)
        delta.grad = gradient
        optimizer.step()
        with torch.no_grad():
            if delta.norm() > options.clamp * origin.norm():
                delta *= options.clamp * origin.norm() / delta.norm()
    handle.remove()
    return (origin + delta).detach(), step + 1


def assert_equal_to_slow(language_model, scored, kl_anchors, options, tolerance=1e-9, layer=2, old=()):
    """Compare all facts; gives the passes that each took."""
    with frozen(language_model.model):
        found = find_target_values(options, language_model, layer, scored, kl_anchors, old=old)
        for place, rows in enumerate(zip(scored, kl_anchors, strict=True)):
            before = old[place] if old else ()
            expected, steps = slow_target_value(language_model, *rows, layer, options, before)
            # Attention is in float32 in some families, whatever the weights' type.
            torch.testing.assert_close(found.values[place], expected, rtol=tolerance, atol=tolerance)
            assert found.steps[place] == steps
    return found.steps


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2])
@pytest.mark.parametrize("options", [OPTIONS, EASY])
def test_target_values_equal_one_fact_at_a_time(make, options):
    language_model, made = make(), tiny.requests(5)
    contexts = ["{}", "it is late . {}", "the bus goes to {}"]
    prompts = prompt_rows(language_model.tokenizer, made, contexts)
    steps = assert_equal_to_slow(
        language_model, prompts, statement_rows(language_model.tokenizer, made, options.kl_anchor_prompt), options
    )
    if options is EASY:
        assert len(set(steps.tolist())) > 1, "facts that stop at different steps are the point of this case"


ROBUST = {
    "margin": replace(EASY, margin=2.0),
    "margin of which no fact comes short": replace(EASY, margin=1e-9),
    "sharpness": replace(EASY, sharpness=0.05),
    "both": replace(EASY, margin=2.0, sharpness=0.05),
}


def old_rows(language_model, made, contexts):
    """The prompts with the old object behind them."""
    return prompt_rows(
        language_model.tokenizer, [replace(request, target_new=request.target_true) for request in made], contexts
    )


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("options", ROBUST.values(), ids=ROBUST)
def test_a_margin_and_flatness_are_sought_as_one_fact_at_a_time(family, options):
    language_model, made = small.model(family), small.requests()
    tokenizer, contexts = language_model.tokenizer, small.CONTEXTS
    made = [with_near(request, (place % 3,)) for place, request in enumerate(made)]
    scored = [
        [*own, *near]
        for own, near in zip(
            prompt_rows(tokenizer, made, contexts), neighbor_rows(tokenizer, made, contexts, 1), strict=True
        )
    ]
    old = old_rows(language_model, made, contexts) if options.margin is not None else ()
    kl_anchors = statement_rows(tokenizer, made, "{} is a")
    steps = assert_equal_to_slow(language_model, scored, kl_anchors, options, old=old)
    assert int(steps.min()) < options.steps or options.margin == 2.0


def test_a_fact_goes_on_until_it_leads_by_the_margin():
    language_model, made = small.model("llama"), small.requests()
    prompts, old = (
        prompt_rows(language_model.tokenizer, made, small.CONTEXTS),
        old_rows(language_model, made, small.CONTEXTS),
    )
    kl_anchors = statement_rows(language_model.tokenizer, made, "{} is a")
    origins = small.readings(language_model, made, 2).values
    leads = {}
    for margin, rows in ((None, ()), (3.0, old)):
        options = replace(EASY, steps=60, margin=margin)
        with frozen(language_model.model):
            found = find_target_values(options, language_model, 2, prompts, kl_anchors, old=rows)
        assert not found.unfinished.any()
        leads[margin] = [
            answer_under(language_model, moved, prompts[fact]) - answer_under(language_model, moved, old[fact])
            for fact, moved in enumerate(found.values - origins)
        ]
    assert min(leads[3.0]) > 3.0 - 1e-9
    assert min(leads[None]) < 2.0


@torch.no_grad()
def answer_under(language_model, delta, rows):
    """log p per token of the rows' answers under a vector, as a mean over rows, through the whole model."""
    total = 0.0
    for row in rows:

        def move(output, at=row.subject_last):
            moved = output.clone()
            moved[0, at] += delta
            return moved

        with shifted_output(language_model.blocks[2], move):
            scores = language_model.model(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
        places = range(len(row.ids) - len(row.answer), len(row.ids))
        total += float(scores[places, row.answer].mean())
    return total / len(rows)


def test_a_fact_without_an_old_object_is_refused(key_covariance):
    made = small.requests()
    made[2] = replace(made[2], target_true=None)
    editor = MEMIT([2], 10.0, target_values=TargetValues(margin=1.0), key_covariance=key_covariance)
    with pytest.raises(ConfigError, match=r"target_values\.margin compares.*edit request 2.*has no target_true"):
        editor.edit(small.model("llama"), made)
    made[2] = replace(made[2], target_true=made[2].target_new)
    with pytest.raises(ConfigError, match=r"target_values\.margin asks.*edit request 2.*are the same"):
        editor.edit(small.model("llama"), made)


def test_a_search_that_is_given_no_old_object_refuses_a_margin():
    with pytest.raises(ConfigError, match=r"target_values\.margin is 2, but this editor gives the search no prompts"):
        small.optimised(small.model("llama"), small.values(margin=2.0), BlockOutput())


def test_an_editor_asks_for_the_margin_in_every_context(key_covariance):
    language_model, made = small.model("llama"), small.requests()
    options = replace(EASY, margin=2.0)
    contexts = Contexts(templates=small.CONTEXTS)
    editor = MEMIT([2], 10.0, target_values=options, key_covariance=key_covariance, contexts=contexts)
    asked = {}

    def note(values, model, layer, scored, kl_anchors, hook_point, old):
        asked["old"] = old
        return find_target_values(values, model, layer, scored, kl_anchors, hook_point, old)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closed_form_editor, "find_target_values", note)
        editor.edit(language_model, made)
    assert asked["old"] == old_rows(language_model, made, small.CONTEXTS)


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("family", small.FAMILIES)
def test_every_family_goes_on_from_the_subject(family, bos):
    """Rows with pasts of many lengths, none among them, and longer than the window where there is one."""
    language_model, made = small.model(family, bos), small.requests()
    made[1:3] = [replace(request, prompt="{} is in the") for request in made[1:3]]
    contexts = ["{}", "people say the bus goes and it is late . it is late . {}"]
    prompts = prompt_rows(language_model.tokenizer, made, contexts)
    assert {row.subject_last for rows in prompts for row in rows} >= {place + bos for place in (0, 1, 3, 14, 15, 17)}
    kl_anchors = statement_rows(language_model.tokenizer, made, "{} is a")
    assert_equal_to_slow(language_model, prompts, kl_anchors, replace(OPTIONS, chunk=4), tolerance=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
@pytest.mark.parametrize("layer", [0, 3])
def test_the_first_and_the_last_layer_too(family, layer):
    """Above the last one no attention is left to run, so that the rows have shared prefixes but no KV cache."""
    language_model, made = small.model(family), small.requests()
    prompts = prompt_rows(language_model.tokenizer, made, small.CONTEXTS)
    kl_anchors = statement_rows(language_model.tokenizer, made, "{} is a")
    assert_equal_to_slow(language_model, prompts, kl_anchors, OPTIONS, tolerance=1e-5, layer=layer)


def with_near(request, places, subjects=("Quito", "Bern", "Rio Grande")):
    near = (f"it is late and people say that {subject} is in the" for subject in subjects)
    questions = [Question(text, "far west", "north", subject) for text, subject in zip(near, subjects, strict=True)]
    return replace(request, neighborhood=tuple(questions[place] for place in places))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_neighbors_keep_their_answers_under_the_same_vector(family):
    language_model = small.model(family)
    made = [with_near(request, (place % 3, (place + 1) % 3)) for place, request in enumerate(small.requests())]
    tokenizer, contexts = language_model.tokenizer, small.CONTEXTS
    prompts = prompt_rows(tokenizer, made, contexts)
    scored = [[*own, *near] for own, near in zip(prompts, neighbor_rows(tokenizer, made, contexts, 2), strict=True)]
    kl_anchors = statement_rows(tokenizer, made, "{} is a")
    assert_equal_to_slow(language_model, scored, kl_anchors, OPTIONS)


def test_an_editor_writes_the_values_that_respect_neighbors(key_covariance):
    language_model, layer = small.model("llama"), 2
    made = [with_near(request, (0, 1, 2)) for request in small.requests()]

    def editor(neighbors):
        values = small.values(neighbors=neighbors)
        return MEMIT([layer], 0.1, 0.1, target_values=values, contexts=small.contexts(), key_covariance=key_covariance)

    tokenizer, asked = language_model.tokenizer, (made, small.CONTEXTS)
    near = neighbor_rows(tokenizer, *asked, 2)
    scored = [[*own, *more] for own, more in zip(prompt_rows(tokenizer, *asked), near, strict=True)]
    with frozen(language_model.model):
        kl_anchors = statement_rows(tokenizer, made, "{} is a")
        targets = find_target_values(small.values(), language_model, layer, scored, kl_anchors).values
        reading = small.readings(language_model, made, layer)
    provenance = editor(2).provenance(language_model, made)
    (matrix,) = editor(2).preconditioners(language_model, [layer], provenance).values()
    left, right = solve_update(matrix, reading.keys.T, (targets - reading.values).T)
    (update,) = editor(2).edit(language_model, made).updates.values()
    torch.testing.assert_close(update.dense(), left @ right.T, rtol=1e-5, atol=1e-6)
    (without,) = editor(0).edit(language_model, made).updates.values()
    assert (without.dense() - update.dense()).norm() > 0.01 * update.norm()


def test_too_few_neighbors_are_refused(key_covariance):
    made = [with_near(request, (0, 1, 2)) for request in small.requests()]
    values = small.values(neighbors=4)
    with pytest.raises(ValueError, match="target_values.neighbors is 4, but only 3"):
        MEMIT([2], target_values=values, contexts=small.contexts(), key_covariance=key_covariance).edit(
            small.model(), made
        )
    with pytest.raises(ValueError, match="target_values.neighbors is -1"):
        small.values(neighbors=-1)
