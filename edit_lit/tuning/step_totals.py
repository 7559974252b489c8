"""What one optimizer step learns from: sums over its parts, as in gradient accumulation, and over all processes."""

from __future__ import annotations

import torch
from torch import Tensor

from edit_lit.utilities import distributed


class StepTotals:
    """Label tokens, their NLL, and answers of one optimizer step so far.

    An optimizer step may see its batch in parts, each split over processes. Its loss is the mean NLL over all its label
    tokens, so that neither kind of split changes it. The sums stay on the device; a part costs one reduction over
    processes.
    """

    def __init__(self) -> None:
        self._sums: Tensor | None = None
        self._tokens_before: Tensor | None = None

    def add(self, nll: Tensor, correct: Tensor) -> None:
        """Take in the next part; all processes do so together.

        Args:
            nll: NLL of each label token of this process, [tokens].
            correct: Whether each example that has an answer was answered exactly, [examples].
        """
        counts = nll.new_tensor([float(len(nll)), float(len(correct))])
        sums = torch.stack([nll.detach().sum(), correct.sum().to(nll.dtype)])
        part = distributed.sum_over_processes(torch.cat([counts, sums]))
        self._tokens_before = None if self._sums is None else self._sums[0]
        self._sums = part if self._sums is None else self._sums + part

    @property
    def empty(self) -> bool:
        """Whether no part has been taken in."""
        return self._sums is None

    @property
    def tokens(self) -> Tensor:
        """Label tokens so far."""
        return self._so_far[0]

    @property
    def examples(self) -> Tensor:
        """Examples with an answer so far."""
        return self._so_far[1]

    @property
    def loss(self) -> Tensor:
        """Mean NLL over the label tokens so far; 0 where there are none."""
        return self._so_far[2] / self.tokens.clamp(min=1)

    @property
    def accuracy(self) -> Tensor:
        """Share of the examples with an answer that were answered exactly; 0 without any, NaN with a loss that is."""
        return self._so_far[3] / self.examples.clamp(min=1) + 0 * self._so_far[2]

    def to_learn(self, nll: Tensor) -> Tensor:
        """The loss whose gradient the last part adds to that of the earlier ones, multiplied by `rescale`.

        The gradient is averaged over processes, so that each divides by the mean count of label tokens. Without a label
        token the loss is 0, and so is its gradient.

        Args:
            nll: NLL of each label token of this process in the last part, with its graph.
        """
        return nll.sum() * distributed.world_size() / self.tokens.clamp(min=1)

    @property
    def rescale(self) -> Tensor | None:
        """What turns the earlier parts' gradient, a mean over their tokens, into their share of the mean over all.

        None in the first part, which has no earlier ones.
        """
        return None if self._tokens_before is None else self._tokens_before / self.tokens.clamp(min=1)

    @property
    def _so_far(self) -> Tensor:
        assert self._sums is not None
        return self._sums
