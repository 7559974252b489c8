"""A training set that is read from its documents while it is trained on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from torch.utils.data import IterableDataset, get_worker_info

from edit_lit.tasks.task import Example
from edit_lit.utilities import distributed


class ExampleStream(IterableDataset[Example]):
    """A dataset that tokenises its documents as it is read, and shuffles within a buffer.

    Every process and every loader worker takes each n-th document, so that each document is read once a pass. Its
    length is unknown, so a Trainer needs ``max_steps``.

    Args:
        documents: Opens the documents anew, in a fixed order.
        examples: Makes examples of documents.
        buffer: Examples to draw the next one from.
        seed: Seed of the order, set by the data module; every pass has its own.
    """

    def __init__(
        self,
        documents: Callable[[], Iterator[str]],
        examples: Callable[[Iterable[str]], Iterator[Example]],
        buffer: int,
        seed: int = 0,
    ) -> None:
        self.documents = documents
        self.examples = examples
        self.buffer = buffer
        self.seed = seed
        self.passes = 0

    def __iter__(self) -> Iterator[Example]:
        worker = get_worker_info()
        workers, number = (worker.num_workers, worker.id) if worker is not None else (1, 0)
        # A worker is a copy made for one pass: what tells it the pass is the seed that its loader drew.
        turn = self.passes if worker is None else worker.seed
        mine = distributed.rank() * workers + number
        share = islice(self.documents(), mine, None, distributed.world_size() * workers)
        order = random.Random(f"{self.seed} {turn} {mine}")
        self.passes += 1
        return shuffled(self.examples(share), self.buffer, order)


def shuffled(examples: Iterable[Example], buffer: int, order: random.Random) -> Iterator[Example]:
    """Examples in random order, as far as a buffer allows."""
    held: list[Example] = []
    for example in examples:
        held.append(example)
        if len(held) >= buffer:
            place = order.randrange(len(held))
            held[place], held[-1] = held[-1], held[place]
            yield held.pop()
    order.shuffle(held)
    yield from held
