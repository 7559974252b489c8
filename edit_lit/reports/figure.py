"""Figures: the decay curve of one run, and retention in several runs."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edit_lit.measures.outcomes import Kind, Pool
from edit_lit.measures.scores import SCORE_NAMES, Rule, edit_scores, mean_success, wilson_interval
from edit_lit.reports.run import Run, short_names

# Okabe and Ito's palette, told apart with any colour vision.
_COLORS = {
    "efficacy": "#0072B2",
    "generalization": "#E69F00",
    "specificity": "#009E73",
    "portability": "#CC79A7",
    "intrinsic": "#555555",
    "train_loss": "#BBBBBB",
    "val_loss": "#D55E00",
    "val_accuracy": "#000000",
}


def decay_figure(run: Run, rule: Rule = Rule.EXACT) -> Figure:
    """Success of the facts above, the downstream task below, over the same steps."""
    figure = Figure(figsize=(7.5, 6.0), layout="constrained")
    facts, task = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    _draw_facts(facts, run, rule)
    _draw_task(task, run)
    figure.suptitle(run.name)
    return figure


def comparison_figure(runs: list[Run], rule: Rule = Rule.EXACT) -> Figure:
    """Retention of the facts under study in several runs, and their intrinsic facts dashed."""
    figure = Figure(figsize=(9.0, 4.5), layout="constrained")
    axes = figure.subplots()
    for run, name in zip(runs, short_names(runs), strict=True):
        (line,) = axes.plot([], [], marker="o", markersize=3, label=name)
        for pool, style in ((run.main_pool, "-"), (Pool.INTRINSIC, ":")):
            transitions = run.transitions(pool, rule)
            axes.plot(
                list(transitions), [item.retention for item in transitions.values()], style, color=line.get_color()
            )
    axes.set(xlabel="optimizer steps", ylabel=f"retention ({rule})", ylim=(-0.02, 1.02))
    axes.set_title("edited facts solid, intrinsic facts dotted", fontsize=9)
    axes.grid(alpha=0.3)
    figure.legend(fontsize=8, loc="outside right upper")
    return figure


def _draw_facts(axes: Axes, run: Run, rule: Rule) -> None:
    curve = run.curve(run.main_pool)
    if run.main_pool is Pool.EDITED:
        for kind in Kind:
            name = SCORE_NAMES[kind]
            scores = {step: edit_scores(outcomes, rule) for step, outcomes in curve.items()}
            points = {step: of_step[name] for step, of_step in scores.items() if name in of_step}
            if kind is not Kind.PORTABILITY and points:
                axes.plot(list(points), list(points.values()), "o-", markersize=3, color=_COLORS[name], label=name)
        _draw_interval(axes, run, rule)
    else:
        values = [mean_success(outcomes.of_kind(Kind.REWRITE), rule) for outcomes in curve.values()]
        axes.plot(list(curve), values, "o-", markersize=3, label="the facts, unedited")
    intrinsic = run.transitions(Pool.INTRINSIC, rule)
    if intrinsic:
        values = [item.retention for item in intrinsic.values()]
        axes.plot(list(intrinsic), values, "--", color=_COLORS["intrinsic"], label="intrinsic facts retained")
    axes.set(ylabel=f"success ({rule})", ylim=(-0.02, 1.02))
    _finish(axes)


def _draw_interval(axes: Axes, run: Run, rule: Rule) -> None:
    """The 95 % interval of efficacy: Wilson's, over the edited facts."""
    transitions = run.transitions(Pool.EDITED, rule)
    bounds = [wilson_interval(item.stable + item.emergent, item.total) for item in transitions.values()]
    if bounds:
        low, high = zip(*bounds, strict=True)
        axes.fill_between(list(transitions), low, high, color=_COLORS["efficacy"], alpha=0.15, linewidth=0)


def _draw_task(axes: Axes, run: Run) -> None:
    for tag in ("train_loss", "val_loss"):
        if tag in run.downstream:
            axes.plot(*zip(*run.downstream[tag], strict=True), color=_COLORS[tag], label=tag.replace("_", " "))
    axes.set(xlabel="optimizer steps", ylabel="downstream loss")
    axes.set_ylim(bottom=0)
    handles, labels = axes.get_legend_handles_labels()
    if "val_accuracy" in run.downstream:
        right = axes.twinx()
        right.plot(
            *zip(*run.downstream["val_accuracy"], strict=True), "o-", markersize=3, color="black", label="val accuracy"
        )
        right.set(ylabel="accuracy", ylim=(-0.02, 1.02))
        more, names = right.get_legend_handles_labels()
        handles, labels = handles + more, labels + names
    axes.grid(alpha=0.3)
    if handles:
        axes.legend(handles, labels, fontsize=8, loc="center right")


def _finish(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
