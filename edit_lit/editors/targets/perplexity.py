"""How well a model says the targets, from its weights alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from edit_lit import distributed
from edit_lit.activations.token_rows import SubjectRow
from edit_lit.language_model import LanguageModel, working_type
from edit_lit.language_model.token_batch import TokenBatch, length_batches


@torch.no_grad()
def target_perplexity(
    language_model: LanguageModel, prompts: Sequence[Sequence[SubjectRow]], batch_tokens: int = 8192
) -> float:
    """Mean over facts of exp(NLL per target token), where a fact's NLL is the mean over its contexts.

    Args:
        language_model: The model, edited so far.
        prompts: Each fact's prompt in each context.
        batch_tokens: Tokens in a batch, padding included.
    """
    flat = [(fact, row) for fact, rows in enumerate(prompts) for row in rows]
    device = language_model.device
    nll_F = torch.zeros(len(prompts), dtype=torch.float64, device=device)
    for batch in distributed.shard(length_batches([len(row.ids) for _, row in flat], batch_tokens)):
        rows = [flat[index] for index in batch]
        scored = [
            (number, len(row.ids) - len(row.answer) + place, token, fact, 1 / (len(row.answer) * len(prompts[fact])))
            for number, (fact, row) in enumerate(rows)
            for place, token in enumerate(row.answer)
        ]
        row, column, token, fact, weight = (torch.tensor(part, device=device) for part in zip(*scored, strict=True))
        logits = language_model.logits_at(TokenBatch.of([row.ids for _, row in rows], device), (row, column))
        log_p = logits.to(working_type(logits)).log_softmax(-1).gather(1, token[:, None])[:, 0]
        nll_F.index_add_(0, fact, -log_p.double() * weight)
    return float(distributed.sum_over_processes(nll_F).exp().mean())
