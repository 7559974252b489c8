"""Keeps or drops training texts by whether they mention an edit."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, TypeVar

from edit_lit.facts.request import SUBJECT_SLOT, EditRequest
from edit_lit.tasks.name_matching import phrases_of, words_of
from edit_lit.utilities.errors import ConfigError

log = logging.getLogger(__name__)

T = TypeVar("T")

_IDENTIFIER = re.compile(r"[PQ]\d+")


class EditFilter:
    """Keeps or drops texts by whether they mention an edit: its subject, its object or its relation.

    Names are compared as whole words, whatever their case and punctuation. A relation is named by its own name, unless
    that is a Wikidata number, and by the longest stretch of its prompt beside the subject, unless that is a single
    word. Texts are counted by the first of the three that they name.

    Args:
        requests: The edits.
        keep_mentions: Keep the texts that name an edit, instead of the others.
    """

    def __init__(self, requests: Sequence[EditRequest], keep_mentions: bool) -> None:
        self.keep_mentions = keep_mentions
        self.names = {
            "subject": phrases_of(request.subject for request in requests),
            "object": phrases_of(
                target for request in requests for target in (request.target_new, request.target_true) if target
            ),
            "relation": phrases_of(name for request in requests for name in _relation_names(request)),
        }
        self.counts = dict.fromkeys((*self.names, "none"), 0)

    def keeps(self, text: str) -> bool:
        """Whether a text stays; counts it."""
        named = self.named_in(text)
        self.counts[named or "none"] += 1
        return (named is not None) == self.keep_mentions

    def named_in(self, text: str) -> str | None:
        """What of the edits a text names first: ``subject``, ``object``, ``relation`` or None."""
        words = words_of(text)
        return next((kind for kind, phrases in self.names.items() if any(phrases.found_in(words))), None)

    def filter(self, items: Iterable[T], text_of: Callable[[T], str]) -> Iterator[T]:
        """The items whose texts stay, with a report in the log once all have passed."""
        yield from (item for item in items if self.keeps(text_of(item)))
        log.info(self.report())

    def report(self) -> str:
        """How many texts were dropped, and what the texts mention."""
        total = sum(self.counts.values())
        mentioning = total - self.counts["none"]
        dropped = total - mentioning if self.keep_mentions else mentioning
        listed = ", ".join(f"{kind} {self.counts[kind]}" for kind in self.names)
        return f"{dropped} of {total} training texts dropped; {mentioning} name an edit (first by {listed})"


def edit_filter(
    requests: Sequence[EditRequest], exclude: Literal["edits"] | None, only: Literal["edits"] | None
) -> EditFilter | None:
    """The filter that the options ``exclude`` and ``only`` ask for, if any.

    Raises:
        ConfigError: If there are no edits to go by.
    """
    if exclude is None and only is None:
        return None
    if not requests:
        option = "only" if exclude is None else "exclude"
        raise ConfigError(
            f"task {option} is 'edits', but data.edits yields no facts. Name their source or drop {option}."
        )
    return EditFilter(requests, keep_mentions=only is not None)


def check_options(exclude: str | None, only: str | None) -> None:
    """Refuse values that mean nothing.

    Raises:
        ConfigError: Naming option, value and remedy.
    """
    for option, value in (("exclude", exclude), ("only", only)):
        if value not in (None, "edits"):
            raise ConfigError(f"task {option} is {value!r}; use 'edits', or leave it out.")
    if exclude and only:
        raise ConfigError("task exclude and only are both 'edits', which leaves no text at all. Drop one.")


def _relation_names(request: EditRequest) -> list[str]:
    longest = max(request.prompt.split(SUBJECT_SLOT), key=lambda part: len(words_of(part)))
    names = [longest] if len(words_of(longest)) > 1 else []
    if request.relation is not None and not _IDENTIFIER.fullmatch(request.relation):
        names.append(request.relation.replace("_", " "))
    return names
