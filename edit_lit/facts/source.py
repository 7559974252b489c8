"""The base class of fact sources: it chooses some of the edit requests that a subclass reads."""

from __future__ import annotations

import random
import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from edit_lit.facts.request import EditRequest, normalized_name
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.seeds import seed_or_global


@dataclass(kw_only=True, eq=False)
class FactSource(ABC):
    """A list of edit requests in a fixed order, and the choice of some of them.

    The choice takes these steps: ``indices`` picks, or ``seed`` shuffles; facts about subjects that the caller excludes
    are dropped; ``skip`` drops the first; ``limit`` keeps the next.

    A source is a dataclass: its fields are its options, and a subclass inherits them with their help.

    Args:
        limit: How many requests to keep; all of them if not given.
        seed: Shuffle the source with this seed, or with that of ``seed_everything`` if it is ``run``; keep its order
            if not given.
        skip: How many requests to drop from the front.
        indices: Positions in the source to take, in this order, instead of a shuffled choice.
    """

    limit: int | None = None
    seed: int | Literal["run"] | None = None
    skip: int = 0
    indices: Sequence[int] | None = None

    def __post_init__(self) -> None:
        check_number("limit", self.limit, least=1, null="for all facts")
        check_number("skip", self.skip, least=0)
        if self.indices is not None and self.seed is not None:
            raise ConfigError("indices and seed exclude each other: indices already fix the order. Drop one.")

    @property
    def seed_in_force(self) -> int | None:
        """The seed that shuffles the source; none if it keeps its order."""
        return seed_or_global(None) if self.seed == "run" else self.seed

    @property
    def called(self) -> str:
        """How messages call this source."""
        return type(self).__name__

    @abstractmethod
    def read(self) -> list[EditRequest]:
        """Every request of the source, in its own order."""

    def load(self, exclude_subjects: Collection[str] = ()) -> list[EditRequest]:
        """The chosen requests; a warning says if there are fewer than ``limit`` asks for.

        Args:
            exclude_subjects: Subjects whose facts are passed over before the choice is made, however they are
                capitalised.

        Raises:
            ConfigError: If an index lies outside the source, or nothing is left.
        """
        requests = self._order(self.read())
        excluded = {normalized_name(subject) for subject in exclude_subjects}
        requests = [request for request in requests if normalized_name(request.subject) not in excluded]
        stop = None if self.limit is None else self.skip + self.limit
        chosen = requests[self.skip : stop]
        if not chosen:
            raise ConfigError(
                f"{self.called} yields no facts: {len(requests)} remain and skip is {self.skip}. "
                "Lower skip, or name a larger source."
            )
        if self.limit is not None and len(chosen) < self.limit:
            warnings.warn(
                f"limit asks {self.called} for {self.limit} facts, but there are {len(chosen)}. "
                "Lower limit, or name a larger source.",
                stacklevel=2,
            )
        return chosen

    def _order(self, requests: list[EditRequest]) -> list[EditRequest]:
        if self.indices is not None:
            for index in self.indices:
                if not 0 <= index < len(requests):
                    raise ConfigError(
                        f"indices holds {index}, but {self.called} has {len(requests)} facts, "
                        f"numbered 0 to {len(requests) - 1}."
                    )
            return [requests[index] for index in self.indices]
        if self.seed_in_force is not None:
            random.Random(self.seed_in_force).shuffle(requests)
        return requests
