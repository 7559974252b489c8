"""Figure of how far a model drifted since the edit."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edit_lit.drift.rows import DriftRow

# Okabe and Ito's palette, told apart with any colour vision.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def drift_figure(rows: Sequence[DriftRow]) -> Figure:
    """Hidden states by layer at the last probe; over the steps the keys that moved, and what the matrices still write.

    Numbers of single edits come as their mean; layers beyond the seventh edited one are not drawn.

    Args:
        rows: The drift of a run, of one probe at least.
    """
    last = max(row.step for row in rows)
    figure = Figure(figsize=(11.0, 3.6), layout="constrained")
    states, keys, writes = figure.subplots(1, 3)
    at_end = (row for row in rows if row.step == last and row.part == "representation" and row.measure == "relative")
    _lines(states, ((f"{row.pool}, {row.position} token", row.layer, row.value) for row in at_end))
    states.set(xlabel="layer", ylabel=f"‖change‖ / ‖state‖ at step {last}", title="hidden states")
    states.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes, measure, title in ((keys, "relative", "keys"), (writes, "write_retention", "writes")):
        part = "key" if measure == "relative" else "value"
        chosen = (row for row in rows if row.part == part and row.measure == measure)
        _lines(axes, ((f"layer {row.layer}", row.step, row.value) for row in chosen))
        axes.set(xlabel="optimizer steps", title=title)
    keys.set_ylabel("‖change‖ / ‖key‖")
    writes.set_ylabel("share of the write that is left")
    # From 0 on, so that a thousandth does not look like a fall.
    for axes, least in ((states, 0.0), (keys, 0.0), (writes, 1.05)):
        low, high = axes.get_ylim()
        axes.set_ylim(min(0.0, low), max(least, high))
    return figure


def _lines(axes: Axes, points: Iterable[tuple[str, int, float]]) -> None:
    """A line for each name: the mean of its numbers at each place, without those that are not numbers."""
    lines: defaultdict[str, defaultdict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name, place, value in points:
        if not math.isnan(value):
            lines[name][place].append(value)
    for (name, line), color in zip(lines.items(), _COLORS, strict=False):
        places = sorted(line)
        means = [math.fsum(line[place]) / len(line[place]) for place in places]
        axes.plot(places, means, "o-", color=color, markersize=3, label=name)
    axes.grid(alpha=0.3)
    if lines:
        axes.legend(fontsize=7)
