"""A sweep file: what all trials have in common, what they differ in, and what each one needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edit_lit.sweeps.axes import Axis, Block, Part, blocks_of, parts_of
from edit_lit.utilities.config_files import check_config_file
from edit_lit.utilities.errors import ConfigError

_VERBS = ("fit", "cycles")
_KEYS = ("name", "verb", "base", "axes", "adjust", "exclude", "replicates", "resources", "retries")

CYCLE = "cycle"
"""The axis whose labels are the cycles, where trials are series of them."""

Where = Mapping[str, Sequence[str]]
"""Labels by axis."""


def covers(where: Where, labels: Mapping[str, str]) -> bool:
    """Whether a trial has one of the labels on each of the axes."""
    return all(labels[axis] in among for axis, among in where.items())


@dataclass(frozen=True)
class Exclusion:
    """Trials that are left out.

    Args:
        where: The labels of such trials by axis; they have one of the labels on each of the axes.
        because: Why they are left out.
    """

    where: Where
    because: str


@dataclass(frozen=True)
class Adjustment:
    """What some trials have besides.

    Args:
        where: The labels of such trials by axis; they have one of the labels on each of the axes.
        parts: The configs and options, which override those of the axes.
    """

    where: Where
    parts: Sequence[Part]


@dataclass(frozen=True)
class Resources:
    """What one trial occupies while it runs.

    Args:
        cpus: Processors, which are also its threads; a part of one lets several trials share it.
        gpus: Accelerators; a part of one lets several trials share it.
    """

    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("cpus", self.cpus), ("gpus", self.gpus)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
                raise ConfigError(f"resources.{name} is {value!r}. Give a number that is not negative, such as 1.")
            if value > 1 and value != int(value):
                raise ConfigError(f"resources.{name} is {value}; above 1 it must be whole. Give {int(value)}.")
        if self.cpus == 0:
            raise ConfigError("resources.cpus is 0, but every trial needs some. Give 1, or a part of one.")

    @property
    def threads(self) -> int:
        """How many threads a trial may use."""
        return max(1, int(self.cpus))


@dataclass(frozen=True)
class SweepFile:
    """A sweep as its file states it.

    Args:
        name: What the sweep is called.
        base: The configs and options that every trial has, later ones first in rank.
        blocks: The axes; those of one block go together, and the blocks are multiplied.
        adjustments: What some trials have besides.
        exclusions: Which trials are left out, and why.
        replicates: The axes that repeat a measurement, such as seeds; the others make the arms.
        resources: What each trial occupies.
        retries: How often a trial that failed is tried again.
        verb: What each trial is: ``fit``, or ``cycles`` for a series of single edits.
    """

    name: str
    base: Sequence[Part]
    blocks: Sequence[Block]
    adjustments: Sequence[Adjustment] = ()
    exclusions: Sequence[Exclusion] = ()
    replicates: Sequence[str] = ()
    resources: Resources = field(default_factory=Resources)
    retries: int = 1
    verb: str = "fit"

    @classmethod
    def read(cls, path: Path) -> SweepFile:
        """Read a file.

        Raises:
            ConfigError: Naming what is wrong with it.
        """
        content = check_config_file(str(path))
        _check_keys(content, _KEYS, f"{path}")
        if "base" not in content or "axes" not in content:
            raise ConfigError(f"{path} needs 'base', what every trial has, and 'axes', what they differ in.")
        blocks = blocks_of(content["axes"], path.parent)
        axes = {axis.name: axis for block in blocks for axis in block}
        retries = content.get("retries", 1)
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise ConfigError(f"retries is {retries!r}. Give how often a failed trial is tried again, such as 1.")
        verb = content.get("verb", "fit")
        if verb not in _VERBS:
            raise ConfigError(f"verb is {verb!r}. A trial is one of {', '.join(_VERBS)}.")
        if verb == "cycles" and CYCLE in axes:
            raise ConfigError(f"an axis is called {CYCLE!r}, as the report calls a series' cycles. Name it otherwise.")
        return cls(
            _name(content.get("name", path.stem)),
            parts_of(content["base"], path.parent, "base"),
            blocks,
            _adjustments(content.get("adjust") or (), axes, path.parent),
            _exclusions(content.get("exclude") or (), axes),
            _replicates(content.get("replicates"), axes),
            _resources(content.get("resources") or {}),
            retries,
            verb,
        )

    @property
    def axes(self) -> list[Axis]:
        """All axes, in the order of the file."""
        return [axis for block in self.blocks for axis in block]


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise ConfigError(f"name is {name!r}, which names no folder. Give a plain name, such as 'seeds'.")
    return name


def _resources(given: Any) -> Resources:
    if not isinstance(given, Mapping):
        raise ConfigError(f"resources is {given!r}. Give cpus and gpus by name, such as {{cpus: 1, gpus: 0}}.")
    _check_keys(given, ("cpus", "gpus"), "resources")
    return Resources(**given)


def _exclusions(given: Any, axes: Mapping[str, Axis]) -> list[Exclusion]:
    found = []
    for item in _mappings(given, "exclude"):
        because = item.pop("because", None)
        if not isinstance(because, str) or not item:
            raise ConfigError(f"exclude has {item}, but each needs labels by axis, and a 'because' with a reason.")
        found.append(Exclusion(_where(item, axes, "exclude"), because))
    return found


def _adjustments(given: Any, axes: Mapping[str, Axis], folder: Path) -> list[Adjustment]:
    found = []
    for item in _mappings(given, "adjust"):
        with_ = item.pop("with", None)
        if with_ is None or not item:
            raise ConfigError(f"adjust has {item}, but each needs labels by axis, and under 'with' what is added.")
        found.append(Adjustment(_where(item, axes, "adjust"), parts_of(with_, folder, "adjust")))
    return found


def _mappings(given: Any, key: str) -> list[dict[str, Any]]:
    if not isinstance(given, Sequence) or not all(isinstance(item, Mapping) for item in given):
        raise ConfigError(f"{key} is no list of mappings. Give a list, each entry with labels by axis.")
    return [dict(item) for item in given]


def _where(item: Mapping[str, Any], axes: Mapping[str, Axis], key: str) -> Where:
    for name in item:
        if name not in axes:
            raise ConfigError(f"{key} names {name}, which is no axis. It is one of {', '.join(axes)}.")
    return {
        name: [axes[name].label(value) for value in (among if isinstance(among, list) else [among])]
        for name, among in item.items()
    }


def _replicates(given: Any, axes: Mapping[str, Axis]) -> list[str]:
    if given is None:
        return [name for name in axes if name.split(".")[-1] in ("seed", "seeds", "seed_everything")]
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise ConfigError(f"replicates is {given!r}. Give a list of axes, such as [data.edits.seed].")
    for name in given:
        if name not in axes:
            raise ConfigError(f"replicates names {name}, which is no axis. It is one of {', '.join(axes)}.")
    return list(given)


def _check_keys(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise ConfigError(f"{where} has the key {key!r}, which means nothing there. It knows {', '.join(known)}.")
