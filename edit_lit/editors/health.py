"""What a reader of an edit should know about how well it went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edit_lit.editors.target_values import OptimisedValues
from edit_lit.facts.request import EditRequest


class Health:
    """Collects notes while an edit is made.

    Args:
        condition: Condition number of what had to be inverted, by layer.
    """

    def __init__(self, condition: Mapping[int, float]) -> None:
        self.condition = condition
        self._unfinished: list[str] = []
        self._steps: list[int] = []

    def note(self, requests: Sequence[EditRequest], found: OptimisedValues) -> None:
        """Note the requests whose target values met no condition to stop, and how long the search took."""
        self._unfinished += [
            request.name for request, open_ in zip(requests, found.unfinished.tolist(), strict=True) if open_
        ]
        self._steps += found.steps.tolist()

    def summary(self) -> dict[str, Any]:
        """The notes, in types that JSON knows."""
        return {
            "unfinished_targets": self._unfinished,
            "mean_steps": sum(self._steps) / len(self._steps),
            "condition": {str(layer): value for layer, value in self.condition.items()},
        }
