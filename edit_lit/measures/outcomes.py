"""What a model answered to the questions of a probe, as numbers.

Shape legend: Q questions; the last axis of size 2 holds the answer and the alternative.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cached_property

import torch
from torch import Tensor

from edit_lit.utilities.errors import ConfigError


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

    Where the model's output is not a number, as after a divergence or an overflow in 16 bits, ``exact``, ``token`` and
    ``first`` are NaN: that is no failed answer, but none at all. A missing alternative has an ``exact`` of 0.

    Args:
        request: Position of the request, [Q].
        kind: Position of the question's kind in ``KINDS``, [Q].
        prompt: Number of the prompt within its request and kind, [Q].
        nll: Mean negative log-likelihood per token in nats, [Q, 2]; NaN where there is no alternative.
        exact: 1 if every token is the argmax under teacher forcing, else 0, [Q, 2]; 0 where there is no alternative.
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
        return self._by_kind[kind]

    @cached_property
    def _by_kind(self) -> dict[Kind, Outcomes]:
        return {kind: self[self.kind == place] for place, kind in enumerate(KINDS)}

    def has_alternative(self) -> Tensor:
        """Whether each question has an alternative, [Q]."""
        return self._has_alternative

    @cached_property
    def _has_alternative(self) -> Tensor:
        return ~(self.nll[:, 1].isnan() & (self.exact[:, 1] == 0))

    def not_a_number(self) -> Tensor:
        """Whether the model's output for each question, answer or alternative, is not a finite number, [Q]."""
        return self._not_a_number

    @cached_property
    def _not_a_number(self) -> Tensor:
        broken = ~self.nll.isfinite()
        return broken[:, 0] | (broken[:, 1] & self._has_alternative)

    def equals(self, other: Outcomes) -> bool:
        """Whether both are the same, bit for bit but for the kind of NaN."""
        theirs = other.tensors()
        return len(self) == len(other) and all(
            torch.allclose(tensor, theirs[name], rtol=0, atol=0, equal_nan=True)
            for name, tensor in self.tensors().items()
        )

    def __getitem__(self, rows: Tensor) -> Outcomes:
        # A mask is searched once, not for each column; and what takes all rows copies none.
        if rows.dtype == torch.bool:
            rows = rows.nonzero()[:, 0]
            if len(rows) == len(self):
                return self
        return Outcomes(**{name: tensor.index_select(0, rows) for name, tensor in self.tensors().items()})

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


def check_unedited(*asked: Outcomes) -> None:
    """Refuse a model that answers with what is not a number before anything is done to it.

    Args:
        asked: What the unedited model answered.

    Raises:
        ConfigError: If any answer is not a number.
    """
    broken = sum(int(outcomes.not_a_number().sum()) for outcomes in asked)
    if broken:
        raise ConfigError(
            f"the unedited model's answers are not numbers ({broken} of {sum(map(len, asked))} questions). "
            "Load it with dtype float32 and without trainer.precision 16-true, or check its weights."
        )
