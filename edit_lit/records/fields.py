"""A view of a record that checks each field as it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.text import damage_in, is_blank, shown


class Fields:
    """A checked view of one record.

    A field that holds null or NaN counts as absent, since tables cannot tell them apart.

    Args:
        record: What the file holds at this place.
        where: The record's place, for messages: file and index.

    Raises:
        ConfigError: If the record is no object, and from every reader if a field is missing or of the wrong type; the
            message names place, field and remedy.
    """

    def __init__(self, record: Any, where: str) -> None:
        if not isinstance(record, Mapping):
            raise ConfigError(f"{where} is a {type(record).__name__}; write an object with named fields.")
        self.record = {str(name): value for name, value in record.items() if value is not None and value == value}
        self.names = tuple(map(str, record))
        self.where = where

    def __contains__(self, name: str) -> bool:
        return name in self.record

    def text(self, name: str) -> str:
        """A text that is not blank, as it stands."""
        return self._checked(name, self._get(name))

    def optional(self, name: str) -> str | None:
        """A text that is not blank, or None if the field is absent."""
        return self.text(name) if name in self else None

    def label(self, name: str) -> str | None:
        """A text or a number, as text; None if the field is absent or blank."""
        value = self.record.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (str, int, float))):
            raise self.wrong(name, value, "a text or a number")
        text = "" if value is None else self._undamaged(name, str(value))
        return None if is_blank(text) else text

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; empty if the field is absent."""
        return tuple(self._checked(name, item) for item in self.items(name))

    def answers(self, name: str) -> tuple[str, ...]:
        """Texts that all count as the answer: one text, or a list of them, however deeply nested."""
        value = self._get(name)
        found = tuple(self._checked(name, item) for item in _nested_items(value))
        if not found:
            raise self.wrong(name, value, "at least one text")
        return found

    def inner(self, name: str) -> Fields:
        """An object inside the record."""
        return Fields(_parsed(self._get(name)), f"{self.where}, {name}")

    def inners(self, name: str) -> list[Fields]:
        """A list of objects; empty if the field is absent."""
        return [Fields(item, f"{self.where}, {name} {number}") for number, item in enumerate(self.items(name))]

    def items(self, name: str) -> list[Any]:
        """A list of anything; empty if the field is absent. In a table's cell it is written as JSON."""
        value = _parsed(self.record.get(name, []))
        if not isinstance(value, (list, tuple)):
            raise self.wrong(name, value, "a list")
        return list(value)

    def wrong(self, name: str, value: Any, wanted: str) -> ConfigError:
        """The error for a field that holds something else than it should."""
        return ConfigError(f"{self.where}: {name} is {shown(value)}; write {wanted}.")

    def _get(self, name: str) -> Any:
        if name not in self.record:
            raise ConfigError(f"{self.where}: {name} is missing. Add it.")
        return self.record[name]

    def _checked(self, name: str, value: Any) -> str:
        if not isinstance(value, str) or is_blank(value):
            raise self.wrong(name, value, "a text that is not blank")
        return self._undamaged(name, value)

    def _undamaged(self, name: str, text: str) -> str:
        damage = damage_in(text)
        if damage is not None:
            raise ConfigError(f"{self.where}: {name} {damage}: {shown(text)}. Correct it.")
        return text


def _nested_items(value: Any) -> list[Any]:
    """The items of a list, and of the lists inside it, in their order; a value that is no list is the only item."""
    found, left = [], [value]
    while left:
        item = left.pop()
        if isinstance(item, (list, tuple)):
            left += reversed(item)
        else:
            found.append(item)
    return found


def _parsed(value: Any) -> Any:
    """A cell of a table that holds a list or an object, as JSON; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
