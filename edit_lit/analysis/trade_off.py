"""A figure of what keeping the edits costs: each arm's retention against its downstream loss, and its steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from edit_lit.analysis.bootstrap import Estimate
from edit_lit.analysis.quantities import LOSS, RETENTION, TRAINED, Quantity
from edit_lit.analysis.study import Study
from edit_lit.analysis.sweep import Labels
from edit_lit.reports.escaping import figure_text

TITLE = "What does keeping the edits cost?"
MOST_ARMS = 40
_COSTS = (LOSS, TRAINED)
_ON_FRONT, _BEHIND = "#D55E00", "#0072B2"


def trade_off_figures(study: Study) -> Iterator[Figure]:
    """Every arm that edits, by retention and what it cost, up to forty in a figure.

    An arm of five runs or more is a number at its means, with 95 % intervals both ways; it is on the front, and in
    another colour, if no arm of the figure has both means as good and one better. Of fewer runs each is the
    arm's number in grey, and the arm is on no front. Costs in which all arms are alike have no panel.
    """
    arms = [arm for arm in study.arms if not study.is_control(arm) and study.samples(arm, RETENTION)]
    for start in range(0, len(arms), MOST_ARMS):
        some = arms[start : start + MOST_ARMS]
        costs = [cost for cost in study.present(_COSTS) if _differs(study, some, cost)]
        if len(some) > 1 and costs:
            yield _figure(study, some, costs)


def front(points: Mapping[Labels, tuple[float, float]]) -> set[Labels]:
    """The arms that no other one dominates.

    Args:
        points: Cost, which had better be low, and retention, which had better be high, of each arm.
    """
    return {
        arm
        for arm, (cost, kept) in points.items()
        if not any(c <= cost and k >= kept and (c, k) != (cost, kept) for c, k in points.values())
    }


def _differs(study: Study, arms: Sequence[Labels], cost: Quantity) -> bool:
    return len({value for arm in arms for value in study.estimate(arm, cost).values}) > 1


def _figure(study: Study, arms: Sequence[Labels], costs: Sequence[Quantity]) -> Figure:
    height = max(4.5, 1.2 + 0.17 * len(arms))
    figure = Figure(figsize=(4.4 * len(costs) + 4.2, height), layout="constrained")
    every = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    for axes, cost in zip(every, costs, strict=True):
        _draw(axes, study, arms, cost)
    every[0].set_ylabel(f"{figure_text(RETENTION.heading)} ({study.rule})")
    names = [f"{number}  {figure_text(study.arm_title(arm))}" for number, arm in enumerate(arms, 1)]
    every[-1].legend(
        [Line2D([], [], linestyle="none")] * len(names),
        names,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        handlelength=0,
        fontsize=7,
        title="orange: no other arm of the figure has\nboth means as good and one better",
        title_fontsize=7,
    )
    figure.suptitle(f"{TITLE} ({figure_text(study.sweep.name)})", fontsize=11)
    return figure


def _draw(axes: Axes, study: Study, arms: Sequence[Labels], cost: Quantity) -> None:
    found = {arm: (study.estimate(arm, cost), study.estimate(arm, RETENTION)) for arm in arms}
    whole = {arm: pair for arm, pair in found.items() if all(item.has_interval for item in pair)}
    best = front({arm: (x.mean, y.mean) for arm, (x, y) in whole.items()})
    scale = 100 if cost.is_share else 1
    for number, (arm, (x, y)) in enumerate(found.items(), 1):
        color = _ON_FRONT if arm in best else _BEHIND
        if arm not in whole:
            _each_run(axes, study, arm, cost, scale, number)
            continue
        at = scale * x.mean, 100 * y.mean
        axes.errorbar(*at, xerr=_arms_of(x, scale), yerr=_arms_of(y, 100), fmt="none", ecolor=color, alpha=0.3)
        axes.text(*at, str(number), color=color, fontsize=8, ha="center", va="center", fontweight="bold")
    axes.set_xlabel(figure_text(cost.heading))
    axes.grid(alpha=0.3)


def _arms_of(found: Estimate, scale: float) -> list[list[float]]:
    """How far an interval reaches below and above its mean."""
    return [[scale * max(0.0, found.mean - found.low)], [scale * max(0.0, found.high - found.mean)]]


def _each_run(axes: Axes, study: Study, arm: Labels, cost: Quantity, scale: float, number: int) -> None:
    costs, kept = study.samples(arm, cost), study.samples(arm, RETENTION)
    at = [(scale * costs[run].mean, 100 * kept[run].mean) for run in kept if run in costs]
    # The points, which cannot be seen, have the axes reach as far as the numbers.
    axes.plot([x for x, _ in at], [y for _, y in at], "none")
    for x, y in at:
        axes.text(x, y, str(number), color="0.5", fontsize=7, ha="center", va="center")
