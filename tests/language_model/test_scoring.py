"""Shared scoring of tokens, against a loop over single rows and positions through the plain model."""

from __future__ import annotations

import pytest
import tiny
import torch

from edit_lit.language_model.scoring import (
    ScoredRow,
    ScoredTokens,
    mean_nll,
    mean_nll_in_batches,
    token_hits,
    token_nll,
)

TEXTS = ["The side of Oslo is", "it rains", "People say that New York is in the", "Lima is a city where it rains ."]


def rows_of(language_model) -> list[ScoredRow]:
    """Rows of several lengths: answers at the end, tokens in the middle, and one position asked for several tokens."""
    ids = [language_model.tokenizer(text)["input_ids"] for text in TEXTS]
    return [
        ScoredRow.teacher_forced(ids[0], [7, 8]),
        ScoredRow.teacher_forced(ids[1], [5]),
        ScoredRow(ids[2], [1, 4, 2], [9, 5, 6]),
        ScoredRow(ids[3], [3, 3, 3, 5], [4, 9, 4, 8]),
    ]


def slow_scores(language_model, row: ScoredRow) -> list[tuple[torch.Tensor, bool]]:
    """NLL and hit of each token, one softmax at a time."""
    scores = []
    for column, token in zip(row.columns, row.tokens, strict=True):
        logits = language_model.model(input_ids=torch.tensor([list(row.ids)])).logits[0, column]
        probabilities = logits.exp() / logits.exp().sum()
        scores.append((-probabilities[token].log(), all(logits[token] >= other for other in logits)))
    return scores


def slow_means(language_model) -> torch.Tensor:
    losses = [[nll for nll, _ in slow_scores(language_model, row)] for row in rows_of(language_model)]
    return torch.stack([torch.stack(of_row).sum() / len(of_row) for of_row in losses])


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2])
def test_one_batch_and_its_gradient(make):
    language_model = make()
    weight = next(language_model.model.parameters())
    found = mean_nll(language_model, rows_of(language_model))
    expected = slow_means(language_model)
    torch.testing.assert_close(found, expected)
    factors = torch.arange(1.0, 5.0, dtype=torch.float64)
    gradients = [torch.autograd.grad((factors * means).sum(), weight)[0] for means in (found, expected)]
    # Llama normalises in float32, so that rows run alone differ by its rounding.
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)
    assert gradients[0].abs().max() > 1e-3


@pytest.mark.parametrize("batch_tokens", [1, 16, 8192])
def test_many_batches_leave_no_trace(batch_tokens):
    language_model = tiny.llama()
    language_model.model.train()
    found = mean_nll_in_batches(language_model, rows_of(language_model), batch_tokens)
    torch.testing.assert_close(found, slow_means(language_model).detach())
    assert language_model.model.training
    assert not found.requires_grad


def test_positions_that_score_several_tokens_are_computed_once():
    language_model = tiny.llama()
    row = rows_of(language_model)[3]
    tokens = [(0, row.columns[place], row.tokens[place], place % 2) for place in range(4)]
    scored = ScoredTokens.of(tokens)
    assert list(zip(*(part.tolist() for part in scored.where), strict=True)) == [(0, 3), (0, 5)]
    logits = language_model.model(input_ids=torch.tensor([list(row.ids)])).logits[0][scored.where[1]].detach()
    slow = slow_scores(language_model, row)
    torch.testing.assert_close(scored.nll(logits), torch.stack([nll for nll, _ in slow]).detach())
    assert scored.hits(logits).tolist() == [hit for _, hit in slow]
    assert scored.group_means(torch.tensor([1.0, 2.0, 3.0, 6.0]), 2).tolist() == [2.0, 4.0]
    # Tokens that are the argmax, so that hits of both kinds are seen.
    best = logits.argmax(-1)
    tokens = [(0, 3, int(best[0]), 0), (0, 5, int(best[0]), 0), (0, 5, int(best[1]), 0)]
    assert ScoredTokens.of(tokens).hits(logits).tolist() == [True, bool(best[0] == best[1]), True]
    assert token_hits(logits, best).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_the_softmax_is_taken_in_float32_or_better(dtype):
    logits = (torch.randn(3, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 4).to(dtype)
    token, position = torch.tensor([4, 0, 9, 7]), torch.tensor([2, 0, 2, 1])
    exact = logits.double().logsumexp(-1)[position] - logits.double()[position, token]
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    for found in (token_nll(logits, token, position), token_nll(logits[position], token)):
        assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        torch.testing.assert_close(found.double(), exact, rtol=tolerance, atol=tolerance)
