"""Batches of examples: a loader that can go on in the middle of an epoch, and padding for uneven shares."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from edit_lit.tasks.bucketing import BucketedSampler
from edit_lit.tasks.stream import ExampleStream
from edit_lit.tasks.task import IGNORED, Example, ExampleSet


class ResumableLoader(DataLoader[Example]):
    """A loader that Lightning can put back to where a checkpoint was written, in the middle of an epoch.

    Args:
        dataset: The examples.
        sampler: Their order.
        batches_done: Tells how many batches of the epoch have been trained on; the loader's own count would run
            ahead, since batches are fetched before they are used.
        options: Everything else that a DataLoader takes.
    """

    def __init__(
        self, dataset: ExampleSet, *, sampler: BucketedSampler, batches_done: Callable[[], int], **options: Any
    ) -> None:
        super().__init__(dataset, sampler=sampler, **options)
        self.batches_done = batches_done

    def state_dict(self) -> dict[str, int]:
        """The position in the epoch; a finished epoch is the start of the next."""
        return {"batches": self.batches_done() % max(1, len(self))}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Start the next pass behind the batches that are done."""
        assert isinstance(self.sampler, BucketedSampler)
        assert self.batch_size is not None
        self.sampler.skip = state_dict["batches"] * self.batch_size


class ResumableStream(DataLoader[Example]):
    """A loader of a stream that Lightning can put back: it reads again, and passes over, what was trained on.

    Args:
        stream: The examples.
        batches_done: Tells how many batches of the pass have been trained on.
        options: Everything else that a DataLoader takes.
    """

    def __init__(self, stream: IterableDataset[Example], *, batches_done: Callable[[], int], **options: Any) -> None:
        super().__init__(stream, generator=torch.Generator(), **options)
        self.batches_done = batches_done
        self._passes = 0
        self._skip = 0

    def __iter__(self) -> Any:
        """The batches of the next pass."""
        # What tells a worker the pass is the seed that is drawn here; without workers the stream counts itself.
        self.generator.manual_seed(self._passes)
        if isinstance(self.dataset, ExampleStream):
            self.dataset.passes = self._passes
        self._passes += 1
        skip, self._skip = self._skip, 0
        return islice(super().__iter__(), skip, None)

    def state_dict(self) -> dict[str, int]:
        """The pass, and the position in it."""
        return {"pass": max(self._passes - 1, 0), "batches": self.batches_done()}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Start the next pass as the one that was stopped, behind the batches that are done."""
        self._passes, self._skip = state_dict["pass"], state_dict["batches"]


class FilledUp(ExampleSet):
    """A data set filled up to a multiple of the processes with examples that no measure counts.

    Args:
        dataset: The examples that count.
        multiple: The number of processes.
    """

    def __init__(self, dataset: ExampleSet, multiple: int) -> None:
        self.dataset = dataset
        self.real = len(dataset)
        self.length = -(-self.real // multiple) * multiple

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        if index < self.real:
            return self.dataset[index]
        ids = self.dataset[0]["input_ids"]
        return Example(input_ids=ids, labels=[IGNORED] * len(ids), answer_mask=[False] * len(ids))
