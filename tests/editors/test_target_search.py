"""The search for target values in its variants, against slow code that reads like its description."""

from __future__ import annotations

import pytest
import small
import torch

from edit_lit.activations.hook_points import BlockOutput, MLPAndAttention, MLPOutput
from edit_lit.activations.token_rows import prompt_rows, statement_rows
from edit_lit.editors import Anchor, NormAnchor
from edit_lit.language_model.hooks import shifted_output


@pytest.mark.parametrize("family", ["llama", "opt", "gptj"])
def test_moving_the_mlp_moves_the_block_by_as_much(family):
    """Without the clamp and decay, whose scales differ, both searches are one in a block that adds its MLP."""
    language_model = small.model(family)
    options = small.values(clamp=1e9, weight_decay=0.0, steps=8)
    made = small.requests()
    moves = [
        small.optimised(language_model, options, hook_point).values
        - small.readings(language_model, made, 2, hook_point).values
        for hook_point in (BlockOutput(), MLPOutput())
    ]
    torch.testing.assert_close(moves[0], moves[1])
    assert moves[0].norm(dim=1).min() > 1


def slow_pmet(language_model, request, options, layer):
    """One fact, one row at a time, through the whole model, with a vector for the MLP and one for attention."""
    tokenizer = language_model.tokenizer
    (rows,) = prompt_rows(tokenizer, [request], small.CONTEXTS)
    (kl_anchor_prompt,) = statement_rows(tokenizer, [request], options.kl_anchor_prompt)
    modules = [language_model.output_projection(layer), language_model.attention_projection(layer)]
    deltas = [torch.zeros(16, dtype=torch.float64, requires_grad=True) for _ in modules]
    state, origins = {"subject_last": 0, "add": False}, [None, None]

    def mover(place):
        def move(module, inputs, output):
            if not state["add"]:
                origins[place] = output[0, state["subject_last"]].detach().clone()
                return output
            output = output.clone()
            output[0, state["subject_last"]] += deltas[place]
            return output

        return move

    handles = [module.register_forward_hook(mover(place)) for place, module in enumerate(modules)]

    def log_p(row):
        state["subject_last"] = row.subject_last
        return language_model.model(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)

    before = log_p(kl_anchor_prompt)[kl_anchor_prompt.subject_last].detach()
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
        now = log_p(kl_anchor_prompt)[kl_anchor_prompt.subject_last]
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
    found = small.optimised(language_model, options, MLPAndAttention())
    for place, request in enumerate(small.requests()):
        value, steps = slow_pmet(language_model, request, options, 2)
        torch.testing.assert_close(found.values[place], value)
        assert found.steps[place] == steps
    assert found.steps.min() < 20, "some fact should stop early, or that rule is not tested"


@pytest.mark.parametrize("times", [1, 3])
def test_most_probable_early_stopping_counts_passes(times):
    """A fact ends at the given number of passes, counted together, in which its target is on top everywhere."""
    language_model = small.model("gpt2")
    passes = [small.optimised(language_model, small.values(steps=steps), BlockOutput()) for steps in range(2, 16)]
    stopped = small.optimised(language_model, small.values(stop_correct=times), BlockOutput())
    assert int(stopped.steps.min()) < 14
    for fact in range(4):
        step = int(stopped.steps[fact])
        torch.testing.assert_close(stopped.values[fact], passes[step - 2].values[fact])
    assert torch.equal(stopped.unfinished, stopped.steps == 15)
    later = small.optimised(language_model, small.values(stop_correct=times + 1), BlockOutput())
    assert (later.steps > stopped.steps).any()
    assert (later.steps >= stopped.steps).all()


def test_early_stopping_may_look_past_the_bare_prompt():
    """A fact ends at the first pass in which its target is on top in all contexts but the bare one."""
    language_model, made = small.model("opt", seed=2), small.requests()
    prompts = prompt_rows(language_model.tokenizer, made, small.CONTEXTS)

    def on_top(value, row):
        """Whether the whole model says the answer with this value at the subject."""
        with torch.no_grad(), shifted_output(language_model.blocks[2], lambda output: replaced(output, row, value)):
            logits = language_model.model(input_ids=torch.tensor([row.ids])).logits[0]
        return logits[len(row.ids) - len(row.answer) :].argmax(-1).tolist() == row.answer

    def replaced(output, row, value):
        moved = output.clone()
        moved[0, row.subject_last] += value - origins[fact]
        return moved

    origins = small.readings(language_model, made, 2).values
    passes = [small.optimised(language_model, small.values(steps=steps), BlockOutput()) for steps in range(2, 16)]
    found = {
        flag: small.optimised(language_model, small.values(stop_correct=1, correct_without_bare=flag), BlockOutput())
        for flag in (True, False)
    }
    assert (found[True].steps < found[False].steps).sum() == 2
    for fact in range(4):
        correct = [[on_top(found_at.values[fact], row) for row in prompts[fact]] for found_at in passes]
        first = next((step for step, rows in enumerate(correct, 2) if all(rows[1:])), 15)
        assert found[True].steps[fact] == first


def test_anchored_values_move_in_few_dimensions():
    language_model = small.model("llama")
    origin = small.readings(language_model, small.requests(), 2).values
    for warm in (False, True):
        anchor = Anchor(share=0.25, first_steps=5, warm_start=warm)
        moved = small.optimised(language_model, small.values(anchor=anchor, steps=6), BlockOutput()).values - origin
        assert ((moved.abs() > 1e-12).sum(1) == 4).all()
    free = small.optimised(language_model, small.values(steps=5), BlockOutput()).values - origin
    assert (free != 0).all()


@pytest.mark.parametrize("hook_point", [BlockOutput(), MLPOutput()])
def test_anchored_norms_are_the_usual_ones_or_the_fact_is_given_up(hook_point):
    language_model, made = small.model("llama"), small.requests()
    prompts = prompt_rows(language_model.tokenizer, made, small.CONTEXTS)
    mlp = small.readings(language_model, made, 2, MLPOutput()).values
    now = small.readings(language_model, made, 2, hook_point).values
    usual = float(mlp.norm(dim=1).sort().values[:3].mean())
    anchor = NormAnchor(drop=0.25, skip=2.0)
    assert anchor.usual_norm(language_model, prompts, 2) == pytest.approx(usual)
    moves = torch.randn(4, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.1
    moves[1] *= 1000
    targets = anchor.anchored(language_model, prompts, 2, hook_point, now + moves, usual)
    torch.testing.assert_close(targets[1], now[1])
    rest = [0, 2, 3]
    found = (targets - now + mlp)[rest]
    torch.testing.assert_close(found.norm(dim=1), torch.full((3,), usual, dtype=torch.float64))
    torch.testing.assert_close(torch.cosine_similarity(found, (mlp + moves)[rest]), torch.ones(3, dtype=torch.float64))
