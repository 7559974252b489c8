"""Noticing where a training stops making sense: a loss or weights that are no finite numbers."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from edit_lit.tuning.step_totals import StepTotals
from edit_lit.utilities import distributed

_NEVER = torch.iinfo(torch.int64).max


class StepWatch:
    """The first optimizer steps of which something was wrong, noted on the device and read now and then.

    Reading waits for the device; noting does not. All processes note the same, because the totals are theirs together.
    """

    def __init__(self) -> None:
        self._first: Tensor | None = None

    def note(self, step: int, totals: StepTotals) -> None:
        """Look at a whole optimizer step.

        Args:
            step: Its number, from 1.
            totals: What it learnt from.
        """
        wrong = torch.stack([~torch.isfinite(totals.loss), totals.tokens == 0])
        first = torch.where(wrong, step, _NEVER)
        self._first = first if self._first is None else torch.minimum(self._first, first)

    def read(self) -> tuple[int | None, int | None]:
        """The first step whose loss was not finite, and the first one without a label token."""
        if self._first is None:
            return None, None
        diverged, empty = (None if step == _NEVER else step for step in self._first.tolist())
        return diverged, empty


def all_finite(weights: Iterable[Tensor]) -> bool:
    """Whether no weight is NaN or infinite in any process; all processes must ask together.

    Args:
        weights: The weights. Those in other types than floats of 16 to 64 bits are taken for finite.
    """
    wide = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    # Extremes, which pass NaN on, need no memory of the weights' size.
    finite = [
        torch.stack(torch.aminmax(weight.detach())).isfinite().all()
        for weight in weights
        if weight.dtype in wide and weight.numel()
    ]
    if not finite:
        return True
    return int(distributed.sum_over_processes((~torch.stack(finite)).sum())) == 0
