"""The world's text as a corpus: the keys that an edit should leave alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edit_lit.records.corpora import Corpus
from edit_lit.utilities.checks import check_number
from edit_lit.world.documents import documents


@dataclass(frozen=True)
class WorldCorpus(Corpus):
    """Texts like those that the world's model was trained on.

    Args:
        limit: How many documents.
        seed: Which ones; the model itself was trained on those of seed 0.
    """

    limit: int = 1500
    seed: int = 1

    def __post_init__(self) -> None:
        check_number("corpus limit", self.limit, least=1)

    def documents(self) -> Iterator[str]:
        """The documents, in a fixed order."""
        yield from documents(self.limit, self.seed)
