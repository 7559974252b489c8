"""Which arms share a panel: one axis goes over the panels, another over the lines, and the rest over the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from edit_lit.analysis.study import Study
from edit_lit.analysis.sweep import Labels
from edit_lit.utilities.errors import ConfigError

MOST_LINES = 6
MOST_PANELS = 4

T = TypeVar("T")


@dataclass(frozen=True)
class Panel:
    """One column of a figure.

    Args:
        title: What its arms have in common.
        lines: Its arms by their label.
    """

    title: str
    lines: dict[str, Labels]


@dataclass(frozen=True)
class Page:
    """One figure.

    Args:
        title: What all of its arms have in common.
        panels: Its columns.
    """

    title: str
    panels: Sequence[Panel]


def pages(study: Study, lines: str | None = None, panels: str | None = None) -> list[Page]:
    """The figures of a sweep.

    Args:
        study: The sweep's results.
        lines: The axis whose labels are lines of one panel; the first on which arms differ if not given.
        panels: The axis whose labels are panels; the next one if not given.

    Raises:
        ConfigError: If arms do not differ in an axis, or both are the same.
    """
    for option, axis in (("--lines", lines), ("--panels", panels)):
        if axis is not None:
            study.sweep.check_axis(option, axis)
    if lines is not None and lines == panels:
        raise ConfigError(f"--lines and --panels are both {lines}. Choose two axes, or leave one out.")
    rest = [axis for axis in study.sweep.varied if axis not in (lines, panels)]
    lines = lines or (rest.pop(0) if rest else None)
    panels = panels or (rest.pop(0) if rest else None)
    found: dict[Labels, dict[str, dict[str, Labels]]] = {}
    for arm in study.arms:
        labels = dict(arm)
        page = found.setdefault(tuple((axis, labels[axis]) for axis in rest), {})
        panel = page.setdefault(f"{panels}={labels[panels]}" if panels else "", {})
        panel[_line_title(study, arm, lines)] = arm
    return [
        Page(", ".join(f"{axis}={label}" for axis, label in common), some)
        for common, by_title in found.items()
        for few in _chunks(list(dict.fromkeys(line for arms in by_title.values() for line in arms)), MOST_LINES)
        for some in _chunks(_panels(by_title, few), MOST_PANELS)
    ]


def _panels(by_title: Mapping[str, Mapping[str, Labels]], lines: Sequence[str]) -> list[Panel]:
    """The panels that have any of some lines, with these alone."""
    parts = [Panel(title, {line: arms[line] for line in lines if line in arms}) for title, arms in by_title.items()]
    return [panel for panel in parts if panel.lines]


def _line_title(study: Study, arm: Labels, lines: str | None) -> str:
    name = f"{lines}={dict(arm)[lines]}" if lines else study.sweep.arm_name(arm)
    return f"{name} (control)" if study.is_control(arm) else name


def _chunks(items: Sequence[T], most: int) -> list[Sequence[T]]:
    return [items[start : start + most] for start in range(0, len(items), most)]
