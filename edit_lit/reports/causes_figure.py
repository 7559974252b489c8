"""Figure of why edits were lost: what each group of parameters cost each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edit_lit.attribution.groups import GROUPS, Group
from edit_lit.attribution.result import Attribution
from edit_lit.reports.escaping import figure_text

COLORS = {Group.WRITTEN: "#D55E00", Group.BELOW: "#0072B2", Group.ABOVE: "#009E73", Group.OUTSIDE: "#999999"}
"""Okabe and Ito's colors, told apart with any colour vision."""

MOST = 60


def causes_figure(attribution: Attribution) -> Figure:
    """A bar for each lost edit, the largest loss on top, of the nats that each group cost it.

    What a group gave back stands to the left of 0. Of more than sixty lost edits the sixty largest losses are drawn.

    Args:
        attribution: What was found, of one lost edit at least.
    """
    every = sorted(attribution.edits, key=lambda edit: -sum(edit.losses().values()))
    edits = every[:MOST]
    figure = Figure(figsize=(8.0, 1.6 + 0.22 * len(edits)), layout="constrained")
    axes = figure.subplots()
    draw_costs(axes, {group: [edit.losses()[group] for edit in edits] for group in GROUPS})
    axes.set_yticks(
        range(len(edits)), [figure_text(f"{edit.subject[:40]} ({edit.verdict})") for edit in edits], fontsize=7
    )
    axes.set_xlabel("nats per token that each group of parameters cost the edit")
    figure.legend(loc="outside lower center", ncols=len(GROUPS), fontsize=8)
    shown = f", the {MOST} largest losses" if len(every) > MOST else ""
    title = f"Why {len(every)} edits were lost at step {attribution.step} ({attribution.rule}){shown}"
    figure.suptitle(title, fontsize=11)
    return figure


def draw_costs(axes: Axes, nats: Mapping[Group, Sequence[float]]) -> None:
    """Draw stacked bars, a row for each place of the lists: costs to the right of 0, what was given back to the left.

    Args:
        axes: Where to draw.
        nats: What each group cost, by group, with a number for each row from the top.
    """
    count = len(next(iter(nats.values())))
    right, left = np.zeros(count), np.zeros(count)
    for group, of_group in nats.items():
        cost = np.array(of_group)
        start = np.where(cost > 0, right, left)
        axes.barh(np.arange(count), cost, left=start, color=COLORS[group], label=str(group), height=0.75)
        right += np.maximum(cost, 0)
        left += np.minimum(cost, 0)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_ylim(count - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.3)
