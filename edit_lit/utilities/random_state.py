"""The state of the random numbers of this process, such as dropout's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of the generators of the CPU and of a device.

    Args:
        device: The device that is trained on.
    """
    state = {"cpu": torch.random.get_rng_state()}
    return state | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else state


def set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Go on with the random numbers where :func:`random_state` was asked.

    Args:
        state: What it returned.
        device: The device that is trained on.
    """
    torch.random.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


@contextmanager
def seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Draw with a seed inside a ``with`` block, and go on behind it as if nothing had been drawn.

    Args:
        seed: The seed; the generators stay as they are if not given.
        device: The device that is drawn on besides the CPU.
    """
    if seed is None:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
