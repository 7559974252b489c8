"""Diagnostics of an edit: unfinished target values, steps, conditioning, facts that share a subject."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from edit_lit.editors.targets.search import OptimizedValues
from edit_lit.facts.request import EditRequest
from edit_lit.utilities.errors import ConfigError

EXAMPLES = 20
"""How many requests of a kind are named; of thousands, nobody reads more."""


class Diagnostics:
    """Collects notes while an edit is made.

    Args:
        condition: Condition number of what had to be inverted, by layer.
    """

    def __init__(self, condition: Mapping[int, float]) -> None:
        self.condition = condition
        self._unfinished: list[str] = []
        self._steps: list[int] = []
        self._sharing: list[str] = []

    def note(self, requests: Sequence[EditRequest], found: OptimizedValues) -> None:
        """Note the requests whose target values met no condition to stop, and how long the search took."""
        self._unfinished += [
            request.name for request, open_ in zip(requests, found.unfinished.tolist(), strict=True) if open_
        ]
        self._steps += found.steps.tolist()

    def note_shared_subjects(self, requests: Sequence[EditRequest]) -> None:
        """Note the requests of a batch whose subject has another target in it too.

        A weight gives one value for one key, and the keys of one subject are nearly the same.
        """
        targets: defaultdict[str, set[str]] = defaultdict(set)
        for request in requests:
            targets[request.subject].add(request.target_new)
        self._sharing += [request.name for request in requests if len(targets[request.subject]) > 1]

    def summary(self) -> dict[str, Any]:
        """The notes, in types that JSON knows."""
        return {
            **listed("unfinished_targets", self._unfinished),
            **listed("shared_subjects", self._sharing),
            "mean_steps": sum(self._steps) / len(self._steps),
            "condition": {str(layer): value for layer, value in self.condition.items()},
        }


def check_facts(requests: Sequence[EditRequest], numbers: Tensor, what: str, option: str) -> None:
    """Refuse NaN and infinity among the numbers of some facts.

    Args:
        requests: The facts.
        numbers: Numbers of each, [facts, …].
        what: What the numbers are.
        option: The option of the learning rate.

    Raises:
        ConfigError: If there are any; it names the first fact.
    """
    finite = numbers.reshape(len(requests), -1).isfinite().all(1).tolist()
    broken = [request.name for request, fine in zip(requests, finite, strict=True) if not fine]
    if broken:
        raise ConfigError(
            f"the {what} of {len(broken)} of {len(requests)} facts became NaN or infinite, such as that of "
            f"{broken[0]}. Lower {option}, or load the model with dtype float32."
        )


def listed(kind: str, names: Sequence[str]) -> dict[str, Any]:
    """How many requests there are of a kind, and the names of the first of them."""
    return {f"{kind}_count": len(names), kind: list(names[:EXAMPLES])}


def warn_of_shared_subjects(summary: Mapping[str, Any]) -> None:
    """Warn of facts that fail whatever the options of the search, from an edit's summary."""
    count = summary.get("shared_subjects_count", 0)
    if count:
        warnings.warn(
            f"{count} facts, such as that of {summary['shared_subjects'][0]}, share their subject with another of "
            "their batch, and so nearly the same key: each gets something between their target values. Set "
            "schedule.distinct_subjects to write them one after the other.",
            stacklevel=3,
        )
