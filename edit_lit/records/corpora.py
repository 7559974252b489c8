"""Running text whose keys an edit should leave alone."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from datasets import load_dataset

from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.identity import Identified
from edit_lit.utilities.progress import progress


class Corpus(Identified):
    """A sequence of documents that is the same at every reading."""

    @abstractmethod
    def documents(self) -> Iterator[str]:
        """The documents, in a fixed order."""

    def identity(self) -> str:
        """A hash of all text, so that a rewritten file is another corpus and a moved one the same."""
        digest = hashlib.sha256()
        for text in progress(self.documents(), "reading the corpus", "documents"):
            digest.update(hashlib.sha256(text.encode()).digest())
        return digest.hexdigest()


@dataclass(frozen=True)
class TextLines(Corpus):
    """A text file with one document a line; empty lines are passed over.

    Args:
        path: The file.
        limit: Most documents to read; all of them if not given.
    """

    path: str
    limit: int | None = None

    def __post_init__(self) -> None:
        if not Path(self.path).is_file():
            raise ConfigError(f"corpus path {self.path!r} is not a file. Name a text file with one document a line.")

    def documents(self) -> Iterator[str]:
        """The lines that hold text."""
        with open(self.path, encoding="utf-8") as file:
            yield from islice((line.strip() for line in file if line.strip()), self.limit)


@dataclass(frozen=True)
class HubText(Corpus):
    """A text column of a data set that ``datasets.load_dataset`` can load.

    The defaults are the corpus of the published editing results, in the dump that is still available.

    Args:
        path: Name on the hub, or a local folder.
        name: Configuration of the data set.
        split: Its split.
        column: The column that holds the text.
        limit: How many documents to sample.
        seed: Seed of the sample.
    """

    path: str = "wikimedia/wikipedia"
    name: str | None = "20231101.en"
    split: str = "train"
    column: str = "text"
    limit: int = 100_000
    seed: int = 0

    def documents(self) -> Iterator[str]:
        """A shuffled sample of the column."""
        data = load_dataset(self.path, self.name, split=self.split)
        if self.column not in data.column_names:
            raise ConfigError(f"corpus column is {self.column!r}, but {self.path} has {data.column_names}. Name one.")
        shuffled = data.shuffle(seed=self.seed)
        for index in range(min(self.limit, len(shuffled))):
            yield shuffled[index][self.column]
