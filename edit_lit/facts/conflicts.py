"""Finds conflicting, duplicate and unchanged facts among edit requests, and warns of them."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from edit_lit.facts.request import EditRequest, normalized_name
from edit_lit.utilities.text import shown

_SHOWN = 5


@dataclass(frozen=True)
class Conflicts:
    """The conflicts among a list of requests.

    Args:
        conflicting: Pairs that share subject and relation, or subject and prompt, but ask for different objects.
        duplicate: Pairs that share these and the object as well.
        unchanged: Requests whose new object is the old one.
    """

    conflicting: tuple[tuple[EditRequest, EditRequest], ...]
    duplicate: tuple[tuple[EditRequest, EditRequest], ...]
    unchanged: tuple[EditRequest, ...]

    def messages(self) -> list[str]:
        """One sentence for each kind that occurs, naming the first few requests."""
        kinds = (
            ("pairs of requests ask for different objects of one fact", [_pair(*pair) for pair in self.conflicting]),
            ("pairs of requests ask for the same", [_pair(*pair) for pair in self.duplicate]),
            ("requests have the old object as their new one", [request.name for request in self.unchanged]),
        )
        return [
            f"{len(names)} {kind}: {'; '.join(names[:_SHOWN])}{'; …' if len(names) > _SHOWN else ''}"
            for kind, names in kinds
            if names
        ]


def find_conflicts(requests: Sequence[EditRequest]) -> Conflicts:
    """Compare every request with the first that asks about the same fact.

    Case and surrounding space make no difference.
    """
    first: dict[tuple[str, str, str], EditRequest] = {}
    pairs: defaultdict[bool, list[tuple[EditRequest, EditRequest]]] = defaultdict(list)
    for request in requests:
        earlier = [first[key] for key in _keys(request) if key in first]
        if earlier:
            same = normalized_name(earlier[0].target_new) == normalized_name(request.target_new)
            pairs[same].append((earlier[0], request))
        for key in _keys(request):
            first.setdefault(key, request)
    unchanged = [
        request
        for request in requests
        if request.target_true is not None
        and normalized_name(request.target_true) == normalized_name(request.target_new)
    ]
    return Conflicts(tuple(pairs[False]), tuple(pairs[True]), tuple(unchanged))


def warn_of_conflicts(requests: Sequence[EditRequest]) -> None:
    """Warn of requests that cannot all hold; they are left as they are, since a study may want them."""
    for message in find_conflicts(requests).messages():
        warnings.warn(f"{message}. Choose other facts with data.edits if that is not wanted.", stacklevel=2)


def _keys(request: EditRequest) -> list[tuple[str, str, str]]:
    subject = normalized_name(request.subject)
    by_prompt = ("prompt", subject, normalized_name(request.prompt))
    if request.relation is None:
        return [by_prompt]
    return [by_prompt, ("relation", subject, normalized_name(request.relation))]


def _pair(first: EditRequest, second: EditRequest) -> str:
    return f"{first.name} → {shown(first.target_new)} and {second.name} → {shown(second.target_new)}"
