"""Telling NaN and infinity apart from numbers, without a copy of the tensor."""

from __future__ import annotations

from torch import Tensor

from edit_lit.utilities.errors import ConfigError


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds no NaN and no infinity.

    Examples:
        >>> import torch
        >>> is_finite(torch.ones(3)), is_finite(torch.tensor([1.0, float("nan")]))
        (True, False)
    """
    # Types of one byte have no extremes that torch would find.
    if not tensor.is_floating_point() or tensor.element_size() == 1 or tensor.numel() == 0:
        return True
    smallest, largest = tensor.detach().aminmax()
    return bool(smallest.isfinite() & largest.isfinite())


def check_finite(tensor: Tensor, what: str, remedy: str) -> None:
    """Refuse a tensor that holds NaN or infinity.

    Args:
        tensor: The tensor.
        what: What it is, as the beginning of a sentence.
        remedy: What to do about it, as a sentence.

    Raises:
        ConfigError: If it does.
    """
    if not is_finite(tensor):
        raise ConfigError(f"{what} holds NaN or infinity. {remedy}")
