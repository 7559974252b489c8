"""What a reader of an edit should know about how well it went."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from edit_lit.editors.prompts import SubjectRow
from edit_lit.editors.target_search import OptimisedValues
from edit_lit.facts.request import EditRequest

EXAMPLES = 20
"""How many requests of a kind are named; of thousands, nobody reads more."""


class Health:
    """Collects notes while an edit is made.

    Args:
        condition: Condition number of what had to be inverted, by layer.
    """

    def __init__(self, condition: Mapping[int, float]) -> None:
        self.condition = condition
        self._unfinished: list[str] = []
        self._steps: list[int] = []
        self._sharing: list[str] = []

    def note(self, requests: Sequence[EditRequest], found: OptimisedValues) -> None:
        """Note the requests whose target values met no condition to stop, and how long the search took."""
        self._unfinished += [
            request.name for request, open_ in zip(requests, found.unfinished.tolist(), strict=True) if open_
        ]
        self._steps += found.steps.tolist()

    def note_shared_keys(self, requests: Sequence[EditRequest], prompts: Sequence[Sequence[SubjectRow]]) -> None:
        """Note the requests of a batch whose key another one with another target has too.

        A weight gives one value for one key, so that such facts get something between their target values.
        """
        targets: defaultdict[tuple[int, ...], set[str]] = defaultdict(set)
        keys = [tuple(rows[0].up_to_subject) for rows in prompts]
        for request, key in zip(requests, keys, strict=True):
            targets[key].add(request.target_new)
        self._sharing += [request.name for request, key in zip(requests, keys, strict=True) if len(targets[key]) > 1]

    def warn(self) -> None:
        """Warn of what makes facts fail whatever the options."""
        if self._sharing:
            warnings.warn(
                f"{len(self._sharing)} facts, such as that of {self._sharing[0]}, begin like another of their batch "
                "that has another target, and share its key: they get a mean of their target values. Write them in "
                "different batches, with a smaller schedule.batch_size.",
                stacklevel=3,
            )

    def summary(self) -> dict[str, Any]:
        """The notes, in types that JSON knows."""
        return {
            **listed("unfinished_targets", self._unfinished),
            **listed("shared_keys", self._sharing),
            "mean_steps": sum(self._steps) / len(self._steps),
            "condition": {str(layer): value for layer, value in self.condition.items()},
        }


def listed(kind: str, names: Sequence[str]) -> dict[str, Any]:
    """How many requests there are of a kind, and the names of the first of them."""
    return {f"{kind}_count": len(names), kind: list(names[:EXAMPLES])}
