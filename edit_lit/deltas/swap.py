"""Swapping parameters' values in place for the length of a ``with`` block, and back bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def on_cpu(parameter: nn.Parameter) -> Tensor:
    """A copy of a parameter's values, on the CPU."""
    return parameter.detach().to("cpu", copy=True)


@contextmanager
def swapped(values: Mapping[nn.Parameter, Tensor]) -> Iterator[None]:
    """Give parameters other values for the length of a ``with`` block, in place.

    Their own values wait on the CPU and come back bit for bit, so that the accelerator holds no second copy.

    Args:
        values: The other values, on any device.
    """
    own = {parameter: on_cpu(parameter) for parameter in values}
    try:
        write_values(values)
        yield
    finally:
        write_values(own)


@torch.no_grad()
def write_values(values: Mapping[nn.Parameter, Tensor]) -> None:
    """Give parameters other values, in place.

    Args:
        values: The values, on any device.
    """
    for parameter, value in values.items():
        parameter.copy_(value)
