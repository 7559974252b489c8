from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from world_model.knockouts import OPENINGS, Knockouts, draw_knockouts, knocked_out, subject_ends

SUBJECTS = torch.tensor([[0, 0, 1, 1, 0, 2, 0, 0], [1, 0, 0, 2, 2, 2, 0, 3]]).repeat(40, 1)
N_BLOCKS = 6


@pytest.fixture(scope="module")
def knockouts() -> Knockouts:
    return draw_knockouts(SUBJECTS, N_BLOCKS, torch.Generator().manual_seed(0))


def test_ends_are_the_last_tokens_of_subjects():
    assert subject_ends(SUBJECTS[:2]).nonzero().tolist() == [[0, 3], [0, 5], [1, 0], [1, 5], [1, 7]]
    # Two subjects side by side end one by one.
    assert subject_ends(torch.tensor([[1, 2, 2]])).tolist() == [[True, False, True]]


def test_attention_is_blocked_as_one_token_at_a_time_says(knockouts):
    ends = subject_ends(SUBJECTS)
    openings = set()
    for row in range(len(SUBJECTS)):
        matching = []
        for opening in OPENINGS:
            blocks = []
            for block in range(N_BLOCKS):
                allowed = torch.zeros(8, 8, dtype=torch.bool)
                for query in range(8):
                    for key in range(query + 1):
                        own = SUBJECTS[row, key] == 0 or SUBJECTS[row, key] == SUBJECTS[row, query]
                        allowed[query, key] = own or (block >= opening and ends[row, key])
                blocks.append(allowed)
            if all(torch.equal(knockouts.attention[b][row, 0] == 0, blocks[b]) for b in range(N_BLOCKS)):
                matching.append(opening)
        assert len(matching) == 1
        openings.add(matching[0])
    assert openings == set(OPENINGS)


def test_mlps_fall_silent_by_document(knockouts):
    ends = subject_ends(SUBJECTS)
    seen = set()
    for row in range(len(SUBJECTS)):
        first, upper = knockouts.mlps[0][row, :, 0], knockouts.mlps[1][row, :, 0]
        silent = not upper.all()
        assert torch.equal(upper, ends[row].float() if silent else torch.ones(8))
        assert all(torch.equal(mlp[row, :, 0], upper) for mlp in knockouts.mlps[1:])
        first_silent = not first.any()
        assert torch.equal(first, torch.zeros(8) if first_silent else upper)
        seen.add((silent, first_silent))
    assert seen == {(False, False), (False, True), (True, False), (True, True)}


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=N_BLOCKS,
        num_attention_heads=2,
        initializer_range=0.5,
    )
    return LlamaForCausalLM(config).eval()


def test_the_damage_ends_with_the_block(model, knockouts):
    ids = torch.randint(20, SUBJECTS.shape)
    with torch.no_grad():
        before = model(ids).logits
        with knocked_out(model.model.layers, knockouts):
            damaged = model(ids).logits
        after = model(ids).logits
    assert torch.equal(before, after)
    assert not torch.allclose(before, damaged)


def test_a_subject_hidden_everywhere_reaches_no_later_token(model):
    hidden = draw_knockouts(SUBJECTS, N_BLOCKS, torch.Generator().manual_seed(0))
    closed = [hidden.attention[0]] * N_BLOCKS
    everywhere = Knockouts(hidden.mlps, tuple(closed))
    rows = (hidden.attention[0] != hidden.attention[-1]).flatten(1).any(1)  # documents that begin closed
    ids = torch.randint(20, SUBJECTS.shape)
    other = torch.where(SUBJECTS == 1, (ids + 7) % 20, ids)
    with torch.no_grad(), knocked_out(model.model.layers, everywhere):
        one, two = model(ids).logits, model(other).logits
    outside = (SUBJECTS != 1) & rows[:, None]
    assert torch.equal(one[outside], two[outside])
    assert not torch.equal(one[~outside], two[~outside])
