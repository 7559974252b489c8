"""The options that an object was built with, read back from its constructor."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any


def options_of(thing: object) -> dict[str, Any]:
    """Constructor arguments and their values, down to plain values.

    Every argument must be kept in an attribute of its own name. Objects among the values are
    described by their class and their own options, so that the result can be written as JSON.
    """
    names = [name for name in inspect.signature(type(thing).__init__).parameters if name != "self"]
    return {name: _plain(getattr(thing, name)) for name in names}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"class": _class_name(value), **fields}
    return {"class": _class_name(value), **options_of(value)}


def _class_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
