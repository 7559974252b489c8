"""The perplexity of the edits' targets, by which repeated passes of an edit are stopped."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from edit_lit.activations.token_rows import SubjectRow
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.scoring import ScoredRow, mean_nll_in_batches


def target_perplexity(
    language_model: LanguageModel, prompts: Sequence[Sequence[SubjectRow]], batch_tokens: int = 8192
) -> float:
    """Mean over facts of exp(NLL per target token), where a fact's NLL is the mean over its contexts.

    Args:
        language_model: The model, edited so far.
        prompts: Each fact's prompt in each context.
        batch_tokens: Tokens in a batch, padding included.
    """
    rows = [ScoredRow.teacher_forced(row.ids, row.answer) for of_fact in prompts for row in of_fact]
    nll_by_fact = mean_nll_in_batches(language_model, rows, batch_tokens).split([len(of_fact) for of_fact in prompts])
    return float(torch.stack([nll.mean() for nll in nll_by_fact]).exp().mean())
