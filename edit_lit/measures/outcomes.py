"""What a model answered to the questions of a probe, as numbers.

Shape legend: Q questions; the last axis of size 2 holds the answer and the alternative.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

import torch
from torch import Tensor


class Kind(StrEnum):
    """Which prompts of a request a question belongs to."""

    REWRITE = "rewrite"
    PARAPHRASE = "paraphrase"
    NEIGHBORHOOD = "neighborhood"
    PORTABILITY = "portability"


KINDS = tuple(Kind)


class Pool(StrEnum):
    """Which facts are asked about."""

    EDITED = "edited"
    INTRINSIC = "intrinsic"
    UNEDITED = "unedited"


@dataclass(frozen=True)
class Outcomes:
    """One row per question, in the probe's order, on the CPU.

    Args:
        request: Position of the request, [Q].
        kind: Position of the question's kind in ``KINDS``, [Q].
        prompt: Number of the prompt within its request and kind, [Q].
        nll: Mean negative log-likelihood per token in nats, [Q, 2]; NaN where there is no alternative.
        exact: 1 if every token is the argmax under teacher forcing, else 0, [Q, 2].
        token: Share of such tokens, [Q, 2].
        first: 1 if the first token is the argmax, else 0, [Q, 2].
    """

    request: Tensor
    kind: Tensor
    prompt: Tensor
    nll: Tensor
    exact: Tensor
    token: Tensor
    first: Tensor

    def of_kind(self, kind: Kind) -> Outcomes:
        """The rows of one kind."""
        return self[self.kind == KINDS.index(kind)]

    def __getitem__(self, rows: Tensor) -> Outcomes:
        return Outcomes(**{name: tensor[rows] for name, tensor in self.tensors().items()})

    def __len__(self) -> int:
        return len(self.request)

    def tensors(self) -> dict[str, Tensor]:
        """The columns by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def empty(cls) -> Outcomes:
        """No rows."""
        index, pair = torch.zeros(0, dtype=torch.long), torch.zeros(0, 2)
        return cls(index, index, index, pair, pair, pair, pair)
