"""What the parser complains of: many nested lines of jsonargparse, read down to the one that matters.

jsonargparse tells what it tried, by the keys and classes on the way, each indented below the one above. An option that
takes one of several types has a list of complaints, one for each type.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from textwrap import dedent

_KEY = re.compile(r'Parser key "([^"]+)"(?: element \d+)?:\s*(.*)', re.DOTALL)
_PATH = re.compile(r"- Expected a path but .*? either not accessible or invalid\n-?\s?(.*)", re.DOTALL)
_CLASS = re.compile(r"Problem with given class_path '([^']+)':\s*\n(.*)", re.DOTALL)
_CALLABLE = re.compile(r"Type .*? expects a function or a callable class: (.*)", re.DOTALL)
_UNION = re.compile(
    r"Does not validate against any of the Union subtypes\nSubtypes: .*?\nErrors:\n(.*)\n"
    r"Given value type: [^\n]*\nGiven value: (.*)",
    re.DOTALL,
)
_VALUE = re.compile(r"(.*?)\.? Got value: ?(.*)", re.DOTALL)
_DOTTED = re.compile(r"Expected a dot import path string: (.*)", re.DOTALL)
_CLASS_IN_VALUE = re.compile(r"class_path='([^']+)'")
_NO_CLASS = re.compile(r"No module named|module '.*' has no attribute")
_PLAIN_TYPE = re.compile(r"Expected a |Not a valid subclass|Import path")


@dataclass(frozen=True)
class Complaint:
    """The innermost complaint.

    Args:
        names: The option's name from the top, part by part.
        reason: What is wrong with it, in the parser's words.
        value: What was given for it, as text; none if the parser does not say.
        within: The class whose option it is, by its import path; none at the top.
        inside: The option's name within that class, part by part.
    """

    names: tuple[str, ...] = ()
    reason: str = ""
    value: str | None = None
    within: str | None = None
    inside: tuple[str, ...] = ()

    @property
    def option(self) -> str:
        """The option's dotted name."""
        return ".".join(self.names)

    def below(self, key: str) -> Complaint:
        """The same of an option further down."""
        parts = tuple(part for part in key.split(".") if part not in ("init_args", "dict_kwargs"))
        return replace(self, names=self.names + parts, inside=self.inside + parts)


def read_complaint(text: str, above: Complaint = Complaint()) -> Complaint:
    """The innermost complaint of the parser's message."""
    text = _outdented(text)
    if match := _PATH.match(text):
        return read_complaint(match[1], above)
    if match := _KEY.match(text):
        return read_complaint(match[2], above.below(match[1]))
    if match := _CLASS.match(text):
        inner = read_complaint(match[2], replace(above, within=match[1], inside=()))
        absent = _NO_CLASS.match(inner.reason) and inner.within == match[1]
        return replace(above, reason=inner.reason, value=match[1]) if absent else inner
    if match := _CALLABLE.match(text):
        nested, _, value = match[1].rpartition(". Got value: ")
        made = _CLASS_IN_VALUE.search(value)
        within = replace(above, within=made[1], inside=()) if made else replace(above, value=value)
        return read_complaint(nested or match[1], within)
    if match := _UNION.match(text):
        return _innermost(match[1], replace(above, value=match[2]))
    if match := _DOTTED.match(text):
        return replace(above, reason=text, value=match[1])
    text = text.split("\nSubclass types expect")[0]
    reason, value = match.groups() if (match := _VALUE.match(text)) else (text, above.value)
    return replace(above, reason=reason, value=value)


def _innermost(text: str, above: Complaint) -> Complaint:
    """Of the complaints about each type that an option takes, the one that got furthest."""
    parts = re.split(r"^- ", _outdented(text), flags=re.MULTILINE)[1:]
    read = [read_complaint(part, replace(above, value=None)) for part in parts]
    found = max(read, key=lambda one: (len(one.names), one.within is not None, _rank(one.reason)))
    told = found.within != above.within or found.names != above.names or found.value is not None
    return found if told else replace(found, value=above.value)


def _rank(reason: str) -> int:
    """How much a reason says: that a value is of another type says least."""
    return 1 if _DOTTED.match(reason) else 0 if _PLAIN_TYPE.match(reason) else 2


def _outdented(text: str) -> str:
    """A block without its indentation; its first line may have lost its own already."""
    first, _, rest = text.strip("\n").partition("\n")
    return f"{first.strip()}\n{dedent(rest)}".strip()
