"""Sharing work over processes; with one process every function is the identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch.distributed as dist
from torch import Tensor

from edit_lit.utilities.errors import ConfigError

T = TypeVar("T")


def is_distributed() -> bool:
    """Whether several processes work together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """How many processes work together."""
    return dist.get_world_size() if is_distributed() else 1


def shard(items: list[T]) -> list[T]:
    """This process's share: every n-th item.

    Where rounding depends on what else is in a batch, the items are whole batches, so that any number of processes
    computes the same numbers.
    """
    return items[rank() :: world_size()]


def sum_over_processes(tensor: Tensor) -> Tensor:
    """Add up a tensor over all processes, in place.

    Where each entry is non-zero in one process only, this gathers the entries exactly.
    """
    if is_distributed():
        dist.all_reduce(tensor)
    return tensor


def from_all_processes(value: T) -> list[T]:
    """Every process's value, in every process, by rank."""
    if not is_distributed():
        return [value]
    values: list[T | None] = [None] * world_size()
    dist.all_gather_object(values, value)
    return cast(list[T], values)


def from_first_process(value: T) -> T:
    """The first process's value, in every process."""
    if not is_distributed():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def take_from_first_process(tensor: Tensor) -> Tensor:
    """Give a tensor the first process's values, in place, in every process."""
    if is_distributed():
        dist.broadcast(tensor, src=0)
    return tensor


def at_first_process(look: Callable[[], T]) -> T:
    """What the first process sees or refuses, in all of them: they may see different disks.

    Args:
        look: Called in the first process alone.

    Raises:
        ConfigError: If it does, in every process.
    """
    seen: T | ConfigError | None = None
    if rank() == 0:
        try:
            seen = look()
        except ConfigError as error:
            seen = error
    agreed = from_first_process(seen)
    if isinstance(agreed, ConfigError):
        raise agreed
    return cast(T, agreed)
