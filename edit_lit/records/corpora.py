"""Running text whose keys an edit should leave alone."""

from __future__ import annotations

import hashlib
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from edit_lit.records.fields import Fields
from edit_lit.records.readers import check_data_set, load_data_set, read_lines
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.identity import Identified
from edit_lit.utilities.progress import progress


class Corpus(Identified):
    """A sequence of documents that is the same at every reading."""

    @abstractmethod
    def documents(self) -> Iterator[str]:
        """The documents, in a fixed order."""

    def check(self) -> None:
        """Refuse a corpus that cannot be had, before anything is computed for it.

        Raises:
            ConfigError: Naming the corpus and the remedy.
        """

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
        check_number("corpus limit", self.limit, least=1, null="for all documents")
        if not Path(self.path).is_file():
            raise ConfigError(f"corpus path {self.path!r} is not a file. Name a text file with one document a line.")

    def documents(self) -> Iterator[str]:
        """The lines that hold text."""
        count = 0
        for line in islice(read_lines(self.path), self.limit):
            count += 1
            yield line
        _warn_if_few(self.path, count, self.limit)


@dataclass(frozen=True)
class HubText(Corpus):
    """A text column of a data set that ``datasets.load_dataset`` can load.

    The defaults are the corpus of the published editing results, in the dump that is still available.

    Args:
        path: Name on the hub, or a local folder.
        name: Configuration of the data set.
        split: Its split.
        column: The column that holds the text.
        limit: How many documents to sample; all of them if null.
        seed: Seed of the sample.
    """

    path: str = "wikimedia/wikipedia"
    name: str | None = "20231101.en"
    split: str = "train"
    column: str = "text"
    limit: int | None = 100_000
    seed: int = 0

    def __post_init__(self) -> None:
        check_number("corpus limit", self.limit, least=1, null="for all documents")

    def check(self) -> None:
        """Refuse a data set that is neither here nor to be had from the hub."""
        check_data_set(self.path)

    def documents(self) -> Iterator[str]:
        """A shuffled sample of the column; documents without text are passed over."""
        data = load_data_set(self.path, self.name, self.split)
        if self.column not in data.column_names:
            raise ConfigError(f"corpus column is {self.column!r}, but {self.path} has {data.column_names}. Name one.")
        shuffled = data.shuffle(seed=self.seed)
        count = len(shuffled) if self.limit is None else min(self.limit, len(shuffled))
        for index in range(count):
            text = Fields(shuffled[index], f"{self.path}, record {index}").label(self.column)
            if text is not None:
                yield text
        _warn_if_few(self.path, count, self.limit)


def _warn_if_few(path: str, count: int, limit: int | None) -> None:
    if limit is not None and count < limit:
        warnings.warn(
            f"corpus limit asks for {limit} documents, but {path} has {count}. Lower limit, or set it to null.",
            stacklevel=2,
        )
