"""Figures of a sweep's arms: for each quantity a panel, in which every arm is a row with its mean and interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edit_lit.analysis.quantities import INTRINSIC, LOSS, RETENTION, Quantity
from edit_lit.analysis.study import Study
from edit_lit.analysis.sweep import Labels
from edit_lit.reports.escaping import figure_text

MOST_ARMS = 40
_SHOWN = (RETENTION, INTRINSIC, LOSS)
_EDITED, _CONTROL = "#0072B2", "#D55E00"


def arms_figures(study: Study) -> Iterator[Figure]:
    """The arms of a sweep, up to forty in a figure.

    An arm of five runs or more is its mean with a 95 % interval; of fewer each run is a point.
    """
    for start in range(0, len(study.arms), MOST_ARMS):
        yield _figure(study, study.arms[start : start + MOST_ARMS])


def _figure(study: Study, arms: Sequence[Labels]) -> Figure:
    quantities = study.present(_SHOWN)
    figure = Figure(figsize=(4.0 + 2.6 * len(quantities), 1.5 + 0.24 * len(arms)), layout="constrained")
    every = figure.subplots(1, len(quantities), sharey=True, squeeze=False)[0]
    for axes, quantity in zip(every, quantities, strict=True):
        _draw(axes, study, arms, quantity)
    every[0].set_yticks(range(len(arms)), [figure_text(study.arm_title(arm)) for arm in arms], fontsize=8)
    every[0].set_ylim(len(arms) - 0.4, -0.6)
    figure.suptitle(figure_text(study.sweep.name), fontsize=12)
    return figure


def _draw(axes: Axes, study: Study, arms: Sequence[Labels], quantity: Quantity) -> None:
    scale = 100 if quantity.is_share else 1
    for row, arm in enumerate(arms):
        color = _CONTROL if study.is_control(arm) else _EDITED
        found = study.estimate(arm, quantity)
        if found.has_interval:
            axes.plot([scale * found.low, scale * found.high], [row, row], "-", color=color, linewidth=1.5)
            axes.plot([scale * found.mean], [row], "o", color=color, markersize=4)
        else:
            axes.plot([scale * value for value in found.values], [row] * found.runs, "|", color=color, markersize=6)
    by_rule = "" if quantity is LOSS else f" ({study.rule})"
    axes.set_xlabel(figure_text(quantity.heading) + by_rule, fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="both", alpha=0.3)
    if quantity.is_share:
        axes.set_xlim(-3, 103)
