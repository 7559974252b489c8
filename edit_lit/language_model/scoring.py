"""Negative log-likelihoods (NLL) and argmax hits of given tokens at given positions.

Logits are computed at these positions only, and the softmax is taken in float32 or better.

Shape legend: P scored tokens, U distinct positions, G groups of tokens, V vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from edit_lit.language_model.model import LanguageModel, working_type
from edit_lit.language_model.modes import evaluating
from edit_lit.language_model.token_batch import TokenBatch, length_batches
from edit_lit.utilities import distributed


@dataclass(frozen=True)
class ScoredRow:
    """A row of model input and the tokens that are scored in it.

    Args:
        ids: Token ids of the input.
        columns: For each scored token, the position whose next-token distribution scores it.
        tokens: Ids of the scored tokens; at least one.
    """

    ids: Sequence[int]
    columns: Sequence[int]
    tokens: Sequence[int]

    def __post_init__(self) -> None:
        assert len(self.tokens) == len(self.columns) > 0, "a row needs a token to score"

    @classmethod
    def teacher_forced(cls, ids: Sequence[int], answer: Sequence[int]) -> ScoredRow:
        """An answer under teacher forcing, where ``ids`` end before the answer's last token."""
        return cls(ids, range(len(ids) - len(answer), len(ids)), answer)


@dataclass(frozen=True)
class ScoredTokens:
    """The scored tokens of a batch: which positions predict them, and what each of them counts for.

    Args:
        where: Row and column of the distinct positions whose logits are needed, two index tensors [U].
        position: Index into ``where`` of the position that predicts each token, [P].
        token: Id of each token, [P].
        group: What each token counts for, such as its row or its question, [P].
        weight: Each token's weight in the mean of its group, [P], float64.
    """

    where: tuple[Tensor, Tensor]
    position: Tensor
    token: Tensor
    group: Tensor
    weight: Tensor

    @classmethod
    def of(cls, tokens: Iterable[tuple[int, int, int, int]], device: torch.device | str = "cpu") -> ScoredTokens:
        """Collect tokens, each given as row, column, token id and group."""
        row, column, token, group = zip(*tokens, strict=True)
        places: dict[tuple[int, int], int] = {}
        position = [places.setdefault(place, len(places)) for place in zip(row, column, strict=True)]
        count = Counter(group)
        where_row, where_column = torch.tensor(list(places), device=device).unbind(1)
        return cls(
            where=(where_row, where_column),
            position=torch.tensor(position, device=device),
            token=torch.tensor(token, device=device),
            group=torch.tensor(group, device=device),
            weight=torch.tensor([1.0 / count[number] for number in group], dtype=torch.float64, device=device),
        )

    def to(self, device: torch.device) -> ScoredTokens:
        """The same on a device."""
        row, column = self.where
        moved = (tensor.to(device) for tensor in (self.position, self.token, self.group, self.weight))
        return ScoredTokens((row.to(device), column.to(device)), *moved)

    def nll(self, logits_UV: Tensor) -> Tensor:
        """NLL of each token in nats, [P], from the logits at ``where``."""
        # As many positions as tokens are the tokens' own, in their order: no need to look them up.
        distinct = len(self.where[0]) == len(self.token)
        return token_nll(logits_UV, self.token, None if distinct else self.position)

    def hits(self, logits_UV: Tensor) -> Tensor:
        """Whether each token is the argmax, [P], from the logits at ``where``."""
        return logits_UV.argmax(-1)[self.position] == self.token

    def group_means(self, values_P: Tensor, groups: int) -> Tensor:
        """Mean of each group's values, [G], in the values' own type."""
        zeros_G = values_P.new_zeros(groups)
        return zeros_G.index_add(0, self.group, values_P * self.weight.to(values_P.dtype))


def token_nll(logits_UV: Tensor, token_P: Tensor, position_P: Tensor | None = None) -> Tensor:
    """NLL of tokens in nats, [P].

    Args:
        logits_UV: Logits.
        token_P: Ids of the tokens.
        position_P: Which row of the logits predicts each token; the rows in their order if not given.
    """
    if position_P is None:
        return F.cross_entropy(logits_UV.to(working_type(logits_UV)), token_P, reduction="none")
    return -log_probabilities(logits_UV)[position_P, token_P]


def token_hits(logits_PV: Tensor, token_P: Tensor) -> Tensor:
    """Whether each token is the argmax of its logits, [P]."""
    return logits_PV.detach().argmax(-1) == token_P


def log_probabilities(logits: Tensor) -> Tensor:
    """Log-softmax over the vocabulary, in float32 or better."""
    return logits.to(working_type(logits)).log_softmax(-1)


def mean_nll(language_model: LanguageModel, rows: Sequence[ScoredRow]) -> Tensor:
    """Mean NLL per scored token of each row, in nats, [rows]; gradients reach the model.

    Args:
        language_model: The model.
        rows: Rows that make one batch.
    """
    scored, nll_P = _nll(language_model, rows)
    return scored.group_means(nll_P, len(rows))


def mean_nll_in_batches(language_model: LanguageModel, rows: Sequence[ScoredRow], batch_tokens: int = 8192) -> Tensor:
    """Mean NLL per scored token of any number of rows, in nats, [rows], float64 on the CPU; without gradients.

    With several processes each runs a share of the batches and all get all values.

    Args:
        language_model: The model.
        rows: The rows.
        batch_tokens: Tokens in a batch, padding included.
    """
    nll = torch.zeros(len(rows), dtype=torch.float64, device=language_model.device)
    with evaluating(language_model.model):
        for batch in distributed.shard(length_batches([len(row.ids) for row in rows], batch_tokens)):
            scored, nll_P = _nll(language_model, [rows[index] for index in batch])
            nll[batch] = scored.group_means(nll_P.double(), len(batch))
    return distributed.sum_over_processes(nll).cpu()


def _nll(language_model: LanguageModel, rows: Sequence[ScoredRow]) -> tuple[ScoredTokens, Tensor]:
    """The scored tokens of one batch, grouped by row, and their NLL."""
    device = language_model.device
    tokens = (
        (number, column, token, number)
        for number, row in enumerate(rows)
        for column, token in zip(row.columns, row.tokens, strict=True)
    )
    scored = ScoredTokens.of(tokens, device)
    batch = TokenBatch.of([row.ids for row in rows], device)
    return scored, scored.nll(language_model.logits_at(batch, scored.where))
