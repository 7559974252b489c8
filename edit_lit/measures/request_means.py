"""Means over each request's prompts."""

from __future__ import annotations

import torch
from torch import Tensor


def request_means(values: Tensor, request: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over each request's prompts.

    Args:
        values: One number per question, [Q].
        request: The request of each question, [Q].

    Returns:
        The requests in ascending order, and their means.

    Examples:
        >>> request_means(torch.tensor([1.0, 0.0, 0.5]), torch.tensor([7, 7, 3]))
        (tensor([3, 7]), tensor([0.5000, 0.5000]))
    """
    counts = request.bincount()
    asked = counts.nonzero()[:, 0]
    sums = torch.zeros(len(counts), dtype=values.dtype).index_add(0, request, values)
    return asked, sums[asked] / counts[asked]
