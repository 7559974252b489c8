"""Identity by content: an object described by its class and options, or by what it says of itself."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any


class Identified(ABC):
    """Something that states its identity itself, because its options do not tell it or tell too much.

    A text file's path, for instance, says nothing about its text, and a cache folder changes no result.
    """

    @abstractmethod
    def identity(self) -> Any:
        """What results depend on, in types that JSON knows; equal exactly where results are."""


def identity_of(value: Any) -> Any:
    """The identity of any option's value, in types that JSON knows.

    Plain values stand for themselves. An :class:`Identified` object says what it is; any other is described by its
    class and its constructor's arguments, each of which it must keep in an attribute of its own name.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [identity_of(item) for item in value]
    if isinstance(value, Identified):
        return {"class": class_name(type(value)), "identity": value.identity()}
    return {"class": class_name(type(value)), **options_of(value)}


def options_of(thing: object, ignored: Collection[str] = ()) -> dict[str, Any]:
    """The identities of an object's constructor arguments, by name.

    Args:
        thing: The object.
        ignored: Arguments that make no difference as the others are; they are left out, and not looked at.
    """
    if dataclasses.is_dataclass(thing):
        names = [field.name for field in dataclasses.fields(thing) if field.init]
    else:
        names = [name for name in inspect.signature(type(thing).__init__).parameters if name != "self"]
    return {name: identity_of(getattr(thing, name)) for name in names if name not in ignored}


def class_name(cls: type) -> str:
    """Module and name of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def content_hash(*values: Any) -> str:
    """SHA-256 of values that JSON knows, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
