"""Figures: the decay curve of one run, and retention in several runs."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edit_lit.measures.outcomes import Kind, Pool
from edit_lit.measures.scores import SCORE_NAMES, Rule, applies, edit_scores, mean_success, wilson_interval
from edit_lit.reports.escaping import figure_text
from edit_lit.reports.notes import edit_note, ending_mark, ending_note, name_mark
from edit_lit.reports.run import Run, short_names
from edit_lit.reports.run_record import State

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
    _draw_missing_part([facts, task], run)
    figure.suptitle(figure_text(run.name))
    grave = [edit_note(run), ending_note(run) if run.segment is not None or run.diverged_at is not None else ""]
    facts.set_title("\n".join(figure_text(note) for note in grave if note), fontsize=9, color="#B00020", wrap=True)
    return figure


def comparison_figure(runs: Sequence[Run], rule: Rule = Rule.EXACT) -> Figure:
    """Retention of the facts under study in several runs, and their intrinsic facts dotted."""
    figure = Figure(figsize=(9.0, 4.5), layout="constrained")
    axes = figure.subplots()
    for run, name in zip(runs, short_names(runs), strict=True):
        mark = name_mark(run)
        label = f"{figure_text(name)}\n({mark})" if mark else figure_text(name)
        (line,) = axes.plot([], [], marker="o", markersize=3, label=label)
        for pool, style in ((run.main_pool, "-"), (Pool.INTRINSIC, ":")):
            transitions = run.transitions(pool, rule)
            values = [item.retention for item in transitions.values()]
            axes.plot(list(transitions), values, style, color=line.get_color())
            if ending_mark(run) and values:
                axes.plot(list(transitions)[-1], values[-1], "X", markersize=9, color=line.get_color())
    axes.set(xlabel="optimizer steps", ylabel=f"retention ({rule})", ylim=(-0.02, 1.02))
    crosses = ", a cross where a run stopped before its end" if any(map(ending_mark, runs)) else ""
    unedited = " (of a control: the same, unedited)" if any(run.is_control for run in runs) else ""
    axes.set_title(f"edited facts{unedited} solid, intrinsic facts dotted{crosses}", fontsize=9)
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
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _draw_interval(axes: Axes, run: Run, rule: Rule) -> None:
    """The 95 % interval of efficacy: Wilson's, over the edited facts."""
    bounds = {}
    for step, outcomes in run.curve(Pool.EDITED).items():
        asked = outcomes.of_kind(Kind.REWRITE)
        asked = asked[applies(asked, rule)]
        if len(asked):
            bounds[step] = wilson_interval(round(mean_success(asked, rule) * len(asked)), len(asked))
    if bounds:
        low, high = zip(*bounds.values(), strict=True)
        axes.fill_between(list(bounds), low, high, color=_COLORS["efficacy"], alpha=0.15, linewidth=0)


def _draw_task(axes: Axes, run: Run) -> None:
    for tag, style in (("train_loss", "-"), ("val_loss", "o-")):
        if tag in run.downstream:
            points = zip(*run.downstream[tag], strict=True)
            axes.plot(*points, style, markersize=3, color=_COLORS[tag], label=tag.replace("_", " "))
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


def _draw_missing_part(every: Sequence[Axes], run: Run) -> None:
    """Hatch the planned steps that the run did not come to, or as many of them as leave room for the curve."""
    segment = run.segment
    if segment is None or segment.steps_planned is None or segment.state is State.FINISHED:
        return
    start = run.last_step if run.diverged_at is not None else max(run.last_step, segment.step)
    end = min(segment.steps_planned, start + max(start // 2, 1))
    if end > start:
        for axes in every:
            axes.axvspan(start, end, facecolor="#F3F3F3", edgecolor="#CCCCCC", hatch="//", zorder=0)
