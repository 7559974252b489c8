"""Figures of what became of a run's facts: how many have each fate over the steps, and each fact's own way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from edit_lit.measures.fates import FATES, Fate, Fates
from edit_lit.measures.scores import Rule
from edit_lit.reports.escaping import figure_text
from edit_lit.reports.fact_texts import fact_texts
from edit_lit.reports.fates_table import first_losses
from edit_lit.reports.notes import name_mark
from edit_lit.reports.run import Run

COLORS = {Fate.ALIVE: "#0072B2", Fate.REVERTED: "#E69F00", Fate.DISPLACED: "#882255", Fate.BROKEN: "#000000"}
"""Colors by Okabe and Ito and by Tol, told apart with any colour vision."""

MOST_NAMES = 60
"""Facts up to which the map names each."""


def fates_figure(run: Run, fates: Fates, rule: Rule) -> Figure:
    """Fates as a stacked area above, deaths and returns between probes, and survival by kind of first loss below.

    Args:
        run: The run.
        fates: Its facts' fates, of one fact and two probes at least.
        rule: The rule by which they were judged.
    """
    figure = Figure(figsize=(9.0, 7.0), layout="constrained")
    area, changes, survival = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1, 2))
    _draw_area(area, fates)
    _draw_changes(changes, fates)
    _draw_survival(survival, fates)
    for axes in (area, changes, survival):
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    figure.suptitle(_title(run, rule), fontsize=11)
    return figure


def _title(run: Run, rule: Rule) -> str:
    mark = name_mark(run)
    return figure_text(f"{run.name}{f' ({mark})' if mark else ''}: what became of the facts ({rule})")


def _draw_area(axes: Axes, fates: Fates) -> None:
    counts = {fate: of_fate for fate, of_fate in fates.counts().items() if of_fate.any()}
    colors = [COLORS[fate] for fate in counts]
    axes.stackplot(fates.steps, *counts.values(), labels=[*map(str, counts)], colors=colors, linewidth=0)
    axes.set(ylabel="facts", ylim=(0, len(fates)), xlim=(fates.steps[0], fates.steps[-1]))


def _draw_changes(axes: Axes, fates: Fates) -> None:
    for counts, sign, color, marker, label in (
        (fates.returns(), 1, COLORS[Fate.ALIVE], "^", "came back"),
        (fates.deaths(), -1, "#D55E00", "v", "died"),
    ):
        at = counts.nonzero()[0]
        axes.vlines(fates.steps[at], 0, sign * counts[at], color=color, linewidth=1.5, clip_on=False)
        axes.plot(fates.steps[at], sign * counts[at], marker, color=color, markersize=4, label=label, clip_on=False)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set(ylabel="since the\nlast probe")
    axes.margins(y=0.15)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):.0f}")
    axes.grid(alpha=0.3)


def _draw_survival(axes: Axes, fates: Fates) -> None:
    steps, incidence = fates.steps, first_losses(fates)
    lower = incidence.survival_T
    upper = np.concatenate([lower[:1], lower[:-1]])
    axes.fill_between(steps, lower, upper, step="pre", color=COLORS[Fate.ALIVE], alpha=0.25, linewidth=0)
    axes.step(steps, lower, where="post", color=COLORS[Fate.ALIVE], label="never lost so far")
    axes.plot(steps, fates.alive_TF.mean(axis=1), "--", color=COLORS[Fate.ALIVE], label="alive, returns included")
    for place, fate in enumerate(FATES):
        if fate is not Fate.ALIVE and incidence.by_kind_KT[place].any():
            axes.step(steps, incidence.by_kind_KT[place], where="post", color=COLORS[fate], label=f"first lost: {fate}")
    axes.set(xlabel="optimizer steps", ylabel="share of the facts", ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)


def fact_map(run: Run, fates: Fates, rule: Rule) -> Figure:
    """One row a fact, one column a probe, in the order in which the facts were lost for good.

    Args:
        run: The run.
        fates: Its facts' fates, of one fact at least.
        rule: The rule by which they were judged.
    """
    order = fates.order_of_death()
    facts, probes = len(fates), len(fates.steps)
    named = facts <= MOST_NAMES
    height = max(3.5, 2.0 + (0.16 * facts if named else 7.0))
    figure = Figure(figsize=(max(5.5, 2.5 + 0.28 * min(probes, 40)), height), layout="constrained")
    axes = figure.subplots()
    colors = ListedColormap([COLORS[fate] for fate in FATES])
    axes.imshow(fates.fate_TF.T[order], cmap=colors, vmin=-0.5, vmax=3.5, aspect="auto", interpolation="nearest")
    every = max(1, probes // 25)
    axes.set_xticks(range(0, probes, every), [str(step) for step in fates.steps[::every]], rotation=90, fontsize=7)
    axes.set(xlabel="probe at step")
    if named:
        axes.set_yticks(range(facts), _names(run, fates.request_F[order].tolist()), fontsize=6)
        axes.hlines(np.arange(facts - 1) + 0.5, -0.5, probes - 0.5, color="white", linewidth=0.4)
    else:
        axes.set(ylabel=f"{facts} facts, the first lost on top")
        axes.set_yticks([])
    shown = [fate for place, fate in enumerate(FATES) if (fates.fate_TF == place).any()]
    handles = [Patch(color=COLORS[fate], label=str(fate)) for fate in shown]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(shown), fontsize=8)
    figure.suptitle(_title(run, rule), fontsize=10)
    return figure


def _names(run: Run, facts: Sequence[int], most: int = 40) -> list[str]:
    texts = fact_texts(run, run.main_pool)
    return [figure_text(texts[fact].subject[:most]) for fact in facts]
