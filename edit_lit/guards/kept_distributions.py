"""What a model answered once, kept to be compared with what it answers later.

Shape legend: R rows, P target tokens, K kept tokens of the vocabulary, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import evaluating
from edit_lit.language_model.scoring import ScoredRow, log_probabilities
from edit_lit.language_model.token_batch import TokenBatch, length_batches


class KeptDistributions:
    """The next-token distributions of a model at some tokens, as they are when this is made.

    Of each the likeliest tokens are kept one by one and all others as one, in float32 or better.

    Args:
        language_model: The model.
        rows: Where it is asked.
        top: How many tokens are kept one by one; all of the vocabulary if it has no more.
        batch_tokens: Tokens in a batch, padding included.
    """

    def __init__(
        self, language_model: LanguageModel, rows: Sequence[ScoredRow], top: int, batch_tokens: int = 8192
    ) -> None:
        self.language_model = language_model
        self.rows = rows
        self._tokens: list[Tensor] = [torch.empty(0)] * len(rows)
        self._kept: list[Tensor] = [torch.empty(0)] * len(rows)
        with evaluating(language_model.model):
            for batch in length_batches([len(row.ids) for row in rows], batch_tokens):
                logs_PV, lengths = self._log_probabilities(batch)
                tokens_PK = logs_PV.topk(min(top, logs_PV.shape[1])).indices
                parts = zip(tokens_PK.split(lengths), _summed_up(logs_PV, tokens_PK).split(lengths), strict=True)
                for index, (tokens, kept) in zip(batch, parts, strict=True):
                    self._tokens[index], self._kept[index] = tokens, kept

    def divergence(self, numbers: Sequence[int]) -> Tensor:
        """KL(kept ‖ now) of some rows, each a mean over its tokens, in nats, [R]; gradients reach the model."""
        logs_PV, lengths = self._log_probabilities(numbers)
        now_PK = _summed_up(logs_PV, torch.cat([self._tokens[number] for number in numbers]))
        kept_PK = torch.cat([self._kept[number] for number in numbers])
        divergence_P = (kept_PK.exp() * (kept_PK - now_PK)).sum(1)
        return torch.stack([of_row.mean() for of_row in divergence_P.split(lengths)])

    def _log_probabilities(self, numbers: Sequence[int]) -> tuple[Tensor, list[int]]:
        """Log-probabilities of the vocabulary at each scored token of some rows, [P, V], and how many a row has."""
        device = self.language_model.device
        rows = [self.rows[number] for number in numbers]
        places = [(number, column) for number, row in enumerate(rows) for column in row.columns]
        where = tuple(torch.tensor(places, device=device).unbind(1))
        batch = TokenBatch.of([row.ids for row in rows], device)
        logits_PV = self.language_model.logits_at(batch, (where[0], where[1]))
        return log_probabilities(logits_PV), [len(row.columns) for row in rows]


def _summed_up(logs_PV: Tensor, tokens_PK: Tensor) -> Tensor:
    """Log-probabilities of some tokens, and of all others, if there are any, together in a last column, [P, K + 1]."""
    chosen_PK = logs_PV.gather(1, tokens_PK)
    if tokens_PK.shape[1] == logs_PV.shape[1]:
        return chosen_PK
    others_PV = logs_PV.scatter(1, tokens_PK, -torch.inf)
    return torch.cat([chosen_PK, others_PV.logsumexp(1, keepdim=True)], dim=1)
