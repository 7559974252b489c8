"""RestoreWrites and RestoreValues put back what they name, and leave all else of the fine-tuning alone."""

from __future__ import annotations

import pytest
import tiny
import torch
from planted import LAYERS, MODELS, NAMES, augmented, changed, edited, fine_tune, keys, state, with_one

from edit_lit.rewriters import RestoreValues, RestoreWrites, restore_writes
from edit_lit.surgery.put_back import put_back
from edit_lit.utilities.errors import ConfigError


def answers(model, of_layer):
    """What the edited matrices answer to keys, biases included, by layer."""
    return {layer: with_one(of_layer[layer]) @ augmented(model, layer).T for layer in LAYERS}


def off(ours, wanted):
    return float(((ours - wanted).norm(dim=1) / wanted.norm(dim=1)).max())


@pytest.mark.parametrize("make", MODELS, ids=NAMES)
def test_writes_are_those_right_after_the_edit_for_the_keys_of_then(make):
    model, delta, requests = edited(make)
    then = keys(model, requests)
    wanted = answers(model, then)
    rewriter = RestoreWrites()
    rewriter.setup(model, delta, requests)
    fine_tune(model)
    tuned, before, lost = {layer: augmented(model, layer) for layer in LAYERS}, state(model), answers(model, then)
    names = rewriter.rewrite(model)
    assert changed(before, state(model)) <= set(names)
    for layer in LAYERS:
        assert off(lost[layer], wanted[layer]) > 1e-3
        assert off(answers(model, then)[layer], wanted[layer]) < 1e-10
        # What is orthogonal to the keys stays: a projector found another way, by the pseudoinverse.
        spanned = with_one(then[layer])
        if make is tiny.llama:  # without a bias
            spanned = spanned[:, :-1]
        change = (augmented(model, layer) - tuned[layer])[:, : spanned.shape[1]]
        rest = torch.eye(spanned.shape[1], dtype=torch.float64) - torch.linalg.pinv(spanned) @ spanned
        assert (change @ rest).norm() < 1e-10 * tuned[layer].norm()
    assert "layer 1" in rewriter.describe()


@pytest.mark.parametrize("make", MODELS, ids=NAMES)
def test_values_are_those_right_after_the_edit_for_the_keys_of_now(make):
    model, delta, requests = edited(make)
    wanted = answers(model, keys(model, requests))
    rewriter = RestoreValues()
    rewriter.setup(model, delta, requests)
    fine_tune(model)
    tuned, before, now = {layer: augmented(model, layer) for layer in LAYERS}, state(model), keys(model, requests)
    short = wanted[1] - answers(model, now)[1]
    names = rewriter.rewrite(model)
    assert changed(before, state(model)) == set(names)
    found = keys(model, requests)
    for layer in LAYERS:
        assert off(answers(model, found)[layer], wanted[layer]) < 1e-9
    torch.testing.assert_close(found[1], now[1], rtol=0, atol=1e-12, msg="keys of the lowest layer do not move")
    assert (found[2] - now[2]).norm() > 1e-3 * now[2].norm(), "those of the next one do, and are the ones that count"
    # The smallest change with these answers.
    change = augmented(model, 1) - tuned[1]
    torch.testing.assert_close(change[:, :-1], (torch.linalg.pinv(now[1]) @ short).T, rtol=1e-8, atol=1e-10)
    assert not change[:, -1].any()


def test_values_of_a_model_that_did_not_move_change_nothing():
    model, delta, requests = edited()
    rewriter = RestoreValues()
    rewriter.setup(model, delta, requests)
    before = {name: parameter.detach().clone() for name, parameter in model.model.named_parameters()}
    rewriter.rewrite(model)
    for name, parameter in model.model.named_parameters():
        torch.testing.assert_close(parameter, before[name], rtol=1e-12, atol=1e-12)


def test_two_prompts_with_one_key_are_written_once():
    model, delta, requests = edited()
    twice = [*requests, requests[0]]
    single, double = [], []
    for facts, kept in ((requests, single), (twice, double)):
        rewriter = RestoreValues()
        model, delta, _ = edited()
        rewriter.setup(model, delta, facts)
        fine_tune(model)
        rewriter.rewrite(model)
        kept += [augmented(model, layer) for layer in LAYERS]
    for one, other in zip(single, double, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


def overwrite(model, requests):
    """Change the edited matrices along the keys of the edits, and nothing else."""
    for layer, of_layer in keys(model, requests).items():
        matrix = model.output_projection(layer).weight
        matrix += torch.randn(len(matrix), len(of_layer), dtype=matrix.dtype) @ of_layer / of_layer.norm() ** 2


def rotate_keys(model, requests):
    """Change what the edited layers' MLPs read, so that the keys move."""
    for layer in LAYERS:
        model.blocks[layer].mlp.up_proj.weight.mul_(-1)


def change_above(model, requests):
    """Change what reads the write: a block above, and the head."""
    model.blocks[3].mlp.up_proj.weight.mul_(-1)
    model.model.lm_head.weight.mul_(-1)


@pytest.mark.parametrize(
    ("damage", "writes", "values"),
    [(overwrite, True, True), (rotate_keys, False, True), (change_above, True, True)],
)
def test_what_each_restores_of_a_planted_damage(damage, writes, values):
    for kind, helps in ((RestoreWrites, writes), (RestoreValues, values)):
        model, delta, requests = edited()
        wanted, head = answers(model, keys(model, requests)), model.model.lm_head.weight.clone()
        rewriter = kind()
        rewriter.setup(model, delta, requests)
        torch.manual_seed(3)
        with torch.no_grad():
            damage(model, requests)
        spoilt = max(off(answers(model, keys(model, requests))[layer], wanted[layer]) for layer in LAYERS)
        assert (spoilt > 1e-2) is (damage is not change_above)
        rewriter.rewrite(model)
        left = max(off(answers(model, keys(model, requests))[layer], wanted[layer]) for layer in LAYERS)
        assert (left < 1e-9) is helps
        assert torch.equal(model.model.lm_head.weight, head) is (damage is not change_above), "no more than that"


def test_paraphrases_count_where_asked_for():
    for rewriter in (RestoreValues(), RestoreValues(paraphrases=1), RestoreWrites(), RestoreWrites(paraphrases=1)):
        model, delta, requests = edited(count=2)
        said = [tiny.EditRequest(request.subject, tiny.TEMPLATES[2], request.target_new) for request in requests]
        then = keys(model, said)
        wanted = answers(model, then)
        rewriter.setup(model, delta, requests)
        fine_tune(model)
        rewriter.rewrite(model)
        theirs = then if isinstance(rewriter, RestoreWrites) else keys(model, said)
        assert (off(answers(model, theirs)[2], wanted[2]) < 1e-9) is bool(rewriter.paraphrases)


@pytest.mark.parametrize("kind", [RestoreWrites, RestoreValues])
def test_what_cannot_be_restored_is_named(kind):
    model, delta, requests = edited()
    with pytest.raises(ConfigError, match=f"{kind.__name__} knows of no edit"):
        kind().rewrite(model)
    with pytest.raises(ConfigError, match="was fine-tuned unedited. Use AddDelta or EditAgain"):
        kind().setup(model, None, requests)
    with pytest.raises(ConfigError, match=r"rewriter\.paraphrases is 2, but .*Oslo.* has 1"):
        kind(paraphrases=2).setup(model, delta, requests)
    with pytest.raises(ConfigError, match=r"rewriter\.energy is 0"):
        kind(energy=0)
    delta.revert(model)
    with pytest.raises(ConfigError, match="is not applied"):
        kind().setup(model, delta, requests)


def test_where_a_later_layer_fails_the_earlier_ones_are_put_back(monkeypatch):
    model, delta, requests = edited()
    rewriter = RestoreWrites()
    rewriter.setup(model, delta, requests)
    fine_tune(model)
    before, seen = state(model), []

    def second_fails(*args):
        seen.append(args)
        if len(seen) == 2:
            raise ConfigError("they span it")
        return put_back(*args)

    monkeypatch.setattr(restore_writes, "put_back", second_fails)
    with pytest.raises(ConfigError, match="they span it"):
        rewriter.rewrite(model)
    assert len(seen) == 2
    assert changed(before, state(model)) == set()
