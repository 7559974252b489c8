"""What the user may have meant: names that are alike, and what an option takes, in words."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from difflib import SequenceMatcher
from importlib import import_module
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import Tensor

_WORDS: dict[Any, tuple[str, str]] = {
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false"),
    str: ("text", "texts"),
    dict: ("a mapping", "mappings"),
    type(None): ("null", "null"),
}
"""One of a type, and several."""
_MOST_NAMES = 24
_OURS = ("edit_lit", "callbacks")


def alike(given: str, known: Iterable[str]) -> str | None:
    """The known dotted name that is most like a given one; none if no name is.

    Examples:
        >>> alike("trainer.max_step", ["trainer.max_steps", "data.batch_size"])
        'trainer.max_steps'
        >>> alike("batchsize", ["trainer.max_steps", "data.batch_size"])
        'data.batch_size'
        >>> alike("retention.every", ["retention.early", "retention.every_n_steps"])
        'retention.every_n_steps'
    """
    names = list(dict.fromkeys(known))
    longer = [name for name in names if name.lower().startswith(given.lower())]
    if longer:
        return min(longer, key=len)
    found = _closest(given, names, str, 0.8) or _closest(_leaf(given), names, _leaf, 0.74)
    if found is None and "." in given and (parent := given.rpartition(".")[0]) not in names:
        return alike(parent, names)
    return found


def _leaf(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _closest(given: str, names: Sequence[str], part: Callable[[str], str], cutoff: float) -> str | None:
    """The first of the names of which a part is most like what is given."""
    likeness = {name: SequenceMatcher(None, part(name).lower(), given.lower()).ratio() for name in names}
    best = max(names, key=lambda name: likeness[name], default=None)
    return best if best is not None and likeness[best] >= cutoff else None


def did_you_mean(given: str, known: Sequence[str]) -> str:
    """A sentence with the name that is most like a given one, or else with all names if they are few."""
    if found := alike(given, known):
        return f" Did you mean {found}?" if found != given else ""
    return f" It is one of {', '.join(known)}." if 0 < len(known) <= _MOST_NAMES else ""


def names_of(keys: Iterable[str]) -> list[str]:
    """The dotted names of a parser's options and of their groups, without those of the classes that an option takes."""
    names: dict[str, None] = {}
    for key in keys:
        parts = key.split(".")
        own = next((place for place, part in enumerate(parts) if part in ("class_path", "init_args")), len(parts))
        names.update(dict.fromkeys(".".join(parts[: end + 1]) for end in range(own)))
    return list(names)


def annotation_at(owner: Any, names: Iterable[str]) -> Any:
    """What is annotated at a path of option names within a class or a mapping; None if that is unknown."""
    annotation = owner
    for name in names:
        owners = [annotation] if annotation is owner else list(classes_in(annotation))
        annotation = next((hints[name] for hints in map(_hints, owners) if name in hints), None)
        if annotation is None:
            return None
    return annotation


def _hints(owner: Any) -> dict[str, Any]:
    if isinstance(owner, Mapping):
        return dict(owner)
    try:
        return get_type_hints(owner if is_dataclass(owner) else owner.__init__)
    except (NameError, TypeError, AttributeError):
        return {}


def classes_in(annotation: Any) -> Iterator[type]:
    """The classes, other than plain types, of which an annotation takes instances, or which it takes makers of."""
    if inspect.isclass(annotation) and get_origin(annotation) is None:
        if annotation not in _WORDS and annotation is not Tensor:
            yield annotation
    elif get_origin(annotation) is Callable:
        yield from classes_in(get_args(annotation)[-1])
    elif get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            yield from classes_in(part)


def class_names(annotation: Any) -> list[str]:
    """Short names of the classes that an annotation takes: those of their own package, and ours."""
    return sorted({name for cls in classes_in(annotation) for name in _names_below(cls, cls)})


def _names_below(cls: type, base: type) -> Iterator[str]:
    package = cls.__module__.split(".")[0]
    shown = package in (*_OURS, base.__module__.split(".")[0]) and not cls.__name__.startswith("_")
    below: list[type] = cls.__subclasses__()
    if shown and not inspect.isabstract(cls) and not (cls is base and below):
        yield cls.__name__
    for other in below:
        yield from _names_below(other, base)


def choices_in(annotation: Any) -> list[str]:
    """The words that an annotation takes."""
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    if get_origin(annotation) in (Union, UnionType):
        return [choice for part in get_args(annotation) for choice in choices_in(part)]
    return []


def in_words(annotation: Any, several: bool = False) -> str:
    """What an annotation takes, in words.

    Examples:
        >>> in_words(int | None)
        'an integer, or null'
        >>> in_words(list[int])
        'a list of integers'
    """
    if annotation in _WORDS:
        return _WORDS[annotation][several]
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        kept = [part for part in parts if part is not Tensor and not (part is int and float in parts)]
        return ", or ".join(dict.fromkeys(in_words(part, several) for part in kept))
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return "a mapping"
    if inspect.isclass(origin) and issubclass(origin, Iterable):
        return f"a list of {in_words(parts[0], several=True)}" if parts else "a list"
    names = class_names(annotation)
    kinds = " or ".join(dict.fromkeys(cls.__name__ for cls in classes_in(annotation))) or "another value"
    return f"{kinds} ({', '.join(names)})" if 1 < len(names) <= _MOST_NAMES else kinds


def class_at(path: str) -> Any:
    """The class at an import path; None if there is none."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return None
