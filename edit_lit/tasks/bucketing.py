"""A random order of examples in which a batch holds examples of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch.utils.data import DistributedSampler

from edit_lit.tasks.task import Example, ExampleSet

WINDOW = 50
"""Batches that are sorted together: more save padding, fewer mix lengths better."""


class BucketedSampler(DistributedSampler[Example]):
    """One process's share of an epoch's order, with examples of similar length side by side if asked for.

    The order depends on the seed and the epoch only, and the processes share every batch, so that a run on more
    of them sees the same batches.

    Args:
        dataset: The examples.
        num_replicas: How many processes share them.
        rank: Which of them this is.
        shuffle: Draw a new order for every epoch.
        seed: Seed of the order.
        bucket: Examples in a batch, all processes together, that should be of similar length; plain random order if
            not given.

    Attributes:
        skip: Examples of this process's share that the next pass leaves out, because they are done.
    """

    def __init__(
        self, dataset: ExampleSet, num_replicas: int, rank: int, shuffle: bool, seed: int, bucket: int | None = None
    ) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle=shuffle, seed=seed, drop_last=False)
        self.bucket = bucket
        self.lengths = dataset.lengths() if bucket is not None else []
        self.skip = 0

    def __iter__(self) -> Iterator[Example]:
        rest = islice(self._share(), self.skip, None)
        self.skip = 0
        return rest

    def _share(self) -> Iterator[Example]:
        if self.bucket is None:
            return super().__iter__()
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = bucketed(self.lengths, self.bucket, generator)
        order += order[: self.total_size - len(order)]
        # The base class yields indices too, although its type says examples.
        return iter(order[self.rank : self.total_size : self.num_replicas])  # type: ignore[arg-type]


def bucketed(lengths: Sequence[int], batch: int, generator: torch.Generator) -> list[int]:
    """All positions, each once, so that every run of ``batch`` of them has similar lengths.

    Args:
        lengths: Tokens of each example.
        batch: Examples in a batch.
        generator: Draws which examples meet, and the order of batches. An incomplete batch comes last.
    """
    drawn: list[int] = torch.randperm(len(lengths), generator=generator).tolist()
    windows = [drawn[start : start + WINDOW * batch] for start in range(0, len(drawn), WINDOW * batch)]
    ordered = [position for window in windows for position in sorted(window, key=lengths.__getitem__)]
    batches = [ordered[start : start + batch] for start in range(0, len(ordered), batch)]
    rest = batches.pop() if batches and len(batches[-1]) < batch else []
    mixed = [batches[place] for place in torch.randperm(len(batches), generator=generator).tolist()]
    return [position for positions in (*mixed, rest) for position in positions]
