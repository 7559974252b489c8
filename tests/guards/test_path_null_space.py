"""PathNullSpace keeps the whole pass over the edits' prompts, and its controls keep something else."""

from __future__ import annotations

import pytest
import tiny
import torch
from test_hold import OPTIMIZERS, edited, train, trainable
from torch import nn

from edit_lit.guards import PathNullSpace
from edit_lit.guards.path_inputs import block_projections, first_seen, inputs_on_texts
from edit_lit.language_model.spans import encode
from edit_lit.utilities.errors import ConfigError


def only_matrices_train(model):
    """All matrices of the blocks, with their biases, and nothing else."""
    model.model.requires_grad_(False)
    for _, module in block_projections(model):
        module.requires_grad_(True)
    return model


def texts(requests):
    return [f"{request.question} {request.target_new}" for request in requests]


def logits(model, requests):
    """The logits at every token of prompt and target but the last, one text at a time."""
    found = []
    with torch.no_grad():
        for text in texts(requests):
            ids = encode(model.tokenizer, text).ids[:-1]
            found.append(model.model(torch.tensor([ids])).logits[0])
    return torch.cat(found)


def guarded(make, guard, requests, optimizer="adamw"):
    """How far the logits of some facts' prompts have moved in a guarded training, at most."""
    model, delta, _ = edited(make)
    only_matrices_train(model)
    before = logits(model, requests)
    steps = OPTIMIZERS[optimizer](trainable(model))
    if guard is not None:
        guard.setup(model, delta, tiny.requests(1))
        guard.attach(steps)
    train(model, steps)
    return float((logits(model, requests) - before).abs().max())


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2], ids=["llama", "gpt2 with biases"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_pass_over_the_prompts_stays_what_it_was(make, optimizer):
    one = tiny.requests(1)
    assert guarded(make, PathNullSpace(energy=1), one, optimizer) < 1e-10
    assert guarded(make, None, one, optimizer) > 1e-2


def test_it_protects_the_span_of_every_token_s_inputs():
    model, delta, _ = edited()
    only_matrices_train(model)
    guard, requests = PathNullSpace(energy=1), tiny.requests(1)
    guard.setup(model, delta, requests)
    inputs = {name: [] for name, _ in block_projections(model)}
    for name, module in block_projections(model):
        module.register_forward_pre_hook(lambda _, given, name=name: inputs[name].append(given[0].detach()[0]))
    logits(model, requests)
    for name, parts in inputs.items():
        tokens = torch.cat(parts)
        basis = guard.writes[name]._basis_NR
        torch.testing.assert_close(tokens @ basis @ basis.T, tokens, rtol=0, atol=1e-10)
        assert basis.shape[1] == torch.linalg.matrix_rank(tokens)


def test_beginnings_that_texts_share_count_once():
    model, _, _ = edited()
    modules = dict(block_projections(model))
    rows = [encode(model.tokenizer, text).ids for text in texts(tiny.requests(4))] * 2
    found = inputs_on_texts(model, modules, rows, batch_tokens=20)
    distinct = {tuple(row[: end + 1]) for row in rows for end in range(len(row))}
    assert all(len(tokens) == len(distinct) for tokens in found.values())
    assert len(distinct) < sum(map(len, rows)) / 2, "or nothing was shared"
    assert first_seen([[1, 2, 3], [1, 2, 4], [2]]) == [[0, 1, 2], [2], [0]]


def test_less_energy_keeps_the_fewest_directions_that_hold_it():
    model, delta, _ = edited()
    only_matrices_train(model)
    guard = PathNullSpace(energy=0.9)
    guard.setup(model, delta, tiny.requests(1))
    rows = [encode(model.tokenizer, text).ids[:-1] for text in texts(tiny.requests(1))]
    for name, tokens in inputs_on_texts(model, dict(block_projections(model)), rows).items():
        values = torch.linalg.svdvals(tokens / tokens.norm(dim=1, keepdim=True)) ** 2
        needed = int((values.cumsum(0) / values.sum() < 0.9).sum()) + 1
        assert guard.writes[name].rank == needed < len(tokens)


def test_the_controls_protect_something_else():
    one, other = tiny.requests(1), tiny.requests(4)[3:]
    facts = PathNullSpace(energy=1, facts=tiny.Given(other))
    assert guarded(tiny.llama, facts, other) < 1e-10
    assert guarded(tiny.llama, PathNullSpace(energy=1, facts=tiny.Given(other)), one) > 1e-4
    assert guarded(tiny.llama, PathNullSpace(energy=1, random=True), one) > 1e-4
    bases = []
    for guard in (PathNullSpace(), PathNullSpace(random=True), PathNullSpace(random=True, seed=1)):
        model, delta, _ = edited()
        guard.setup(only_matrices_train(model), delta, one)
        bases.append({name: write._basis_NR for name, write in guard.writes.items()})
    for name, basis in bases[0].items():
        assert bases[1][name].shape == bases[2][name].shape == basis.shape
        assert not torch.allclose(bases[1][name], bases[2][name])


def test_the_edited_subjects_are_left_out_of_a_control_s_facts():
    model, delta, _ = edited()
    only_matrices_train(model)
    guard = PathNullSpace(facts=tiny.Given(tiny.requests(2)))
    guard.setup(model, delta, tiny.requests(1))
    alone = PathNullSpace(facts=tiny.Given(tiny.requests(2)[1:]))
    alone.setup(model, delta, [])
    assert guard.describe() == alone.describe()


def test_it_says_how_much_it_takes():
    model, delta, _ = edited()
    guard = PathNullSpace(energy=0.9)
    guard.setup(only_matrices_train(model), delta, tiny.requests(1))
    shares = sorted(write.rank / write.inputs for write in guard.writes.values())
    assert f"({shares[0]:.0%} to {shares[-1]:.0%} of their input directions)" in guard.describe()
    assert f"keeps what {4 * 7} matrices answer to the inputs on" in guard.describe()


def test_what_it_could_not_keep_is_refused():
    model, delta, requests = edited()
    model.model.requires_grad_(False)
    with pytest.raises(ConfigError, match="no matrix of a block trains"):
        PathNullSpace().setup(model, delta, requests)
    only_matrices_train(model)
    model.blocks[1].experts = nn.Parameter(torch.zeros(2, 3, 3))
    with pytest.raises(ConfigError, match="experts of layer 1 trains, which is of none"):
        PathNullSpace().setup(model, delta, requests)
    model, delta, requests = edited()
    with pytest.raises(ConfigError, match="keys span all 16 inputs"):
        PathNullSpace(energy=1, paraphrases=1).setup(only_matrices_train(model), delta, requests)
    with pytest.raises(ConfigError, match="energy is 0"):
        PathNullSpace(energy=0)
