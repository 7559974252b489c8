"""Axes of a sweep: what its trials differ in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edit_lit.utilities.errors import ConfigError

Part = Path | Mapping[str, Any]
"""A config file, or options by dotted name or nested."""


@dataclass(frozen=True)
class Choice:
    """One place on an axis.

    Args:
        label: What it is called in tables.
        parts: The configs and options that make it.
    """

    label: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Axis:
    """One thing in which trials differ.

    Args:
        name: The option's dotted name, or a name for several options together.
        choices: Its places.
    """

    name: str
    choices: Sequence[Choice]

    def label(self, value: Any) -> str:
        """The label of a value that is among the choices.

        Raises:
            ConfigError: If it is not.
        """
        label = value_label(value)
        labels = [choice.label for choice in self.choices]
        if label not in labels:
            raise ConfigError(f"{self.name} has no choice {value!r}. It is one of {', '.join(labels)}.")
        return label


Block = Sequence[Axis]
"""Axes that go together: the first choice of one with the first of the others, and so on."""


def value_label(value: Any) -> str:
    """What a value is called: a config file by its name without the ending, and null as none."""
    if value is None:
        return "none"
    if isinstance(value, str) and _is_file(value):
        return Path(value).stem
    return str(value)


def blocks_of(given: Any, folder: Path) -> list[Block]:
    """The blocks of axes of a sweep file.

    Args:
        given: What stands under ``axes``: a list of mappings, each a block with its axes by name. An axis is a list of
            values of the option of its name, where a name that ends in ``.yaml`` is a config file, or a mapping from
            labels to configs and options.
        folder: Where paths of config files lead from.

    Raises:
        ConfigError: Naming the axis and what is wrong with it.
    """
    listed = [{name: axis} for name, axis in given.items()] if isinstance(given, Mapping) else given
    if not isinstance(listed, Sequence) or isinstance(listed, str) or not listed:
        raise ConfigError("axes is empty or no list. Give a list, such as [{data.edits.seed: [0, 1, 2]}].")
    blocks: list[Block] = []
    names: set[str] = set()
    for block in listed:
        if not isinstance(block, Mapping) or not block:
            raise ConfigError(f"axes holds {block!r}. Give each axis as name and values, such as seed: [0, 1, 2].")
        axes = [_axis(str(name), values, folder) for name, values in block.items()]
        _check_rows(axes)
        counts = {axis.name: len(axis.choices) for axis in axes}
        if len(set(counts.values())) > 1:
            text = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise ConfigError(f"axes that go together have different numbers of choices: {text}. Make them equal.")
        twice = names & counts.keys()
        if twice:
            raise ConfigError(f"{min(twice)} is given as an axis twice. Keep one.")
        names |= counts.keys()
        blocks.append(axes)
    return blocks


def parts_of(given: Any, folder: Path, where: str) -> list[Part]:
    """Configs and options: one of either, or a list of them.

    Args:
        given: A path that ends in ``.yaml``, a mapping of options, or a list of such.
        folder: Where paths lead from.
        where: What it is a part of, for messages.

    Raises:
        ConfigError: If something else is given, or a file is not there.
    """
    return [_part(item, folder, where) for item in (given if isinstance(given, list) else [given])]


def _axis(name: str, values: Any, folder: Path) -> Axis:
    if isinstance(values, Mapping):
        choices = [Choice(str(label), parts_of(given, folder, f"{name}: {label}")) for label, given in values.items()]
    elif isinstance(values, list):
        choices = [Choice(value_label(value), [_value(name, value, folder)]) for value in values]
    else:
        raise ConfigError(f"the axis {name} is {values!r}. Give a list of values, or a mapping from labels to options.")
    if not choices:
        raise ConfigError(f"the axis {name} has no choice. Give at least one, or leave it out.")
    return Axis(name, choices)


def _check_rows(axes: Sequence[Axis]) -> None:
    """Refuse two places of a block with the same labels."""
    rows = list(zip(*([choice.label for choice in axis.choices] for axis in axes), strict=False))
    twice = next((row for row in rows if rows.count(row) > 1), None)
    if twice is not None:
        raise ConfigError(
            f"the axis {', '.join(axis.name for axis in axes)} has two choices called {', '.join(twice)}. Leave one "
            "out, or give labels: {label: value, …}."
        )


def _value(name: str, value: Any, folder: Path) -> Part:
    return _part(value, folder, name) if isinstance(value, str) and _is_file(value) else {name: value}


def _part(given: Any, folder: Path, where: str) -> Part:
    if isinstance(given, Mapping):
        return given
    if not isinstance(given, str) or not _is_file(given):
        raise ConfigError(f"{where} has {given!r}. Give a config file, or options by name.")
    path = folder / given
    if not path.is_file():
        raise ConfigError(f"{where} names {given}, but there is no {path}. Paths lead from the sweep file's folder.")
    return path


def _is_file(text: str) -> bool:
    return text.endswith((".yaml", ".yml"))
