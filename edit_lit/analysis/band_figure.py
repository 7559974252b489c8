"""Figures of a sweep: small multiples of retention, intrinsic retention and downstream loss over steps."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edit_lit.analysis.bands import DOWNSTREAM, INTRINSIC, MAIN, Band, bands
from edit_lit.analysis.panels import Page
from edit_lit.analysis.study import Study
from edit_lit.reports.escaping import figure_text

# Okabe and Ito's palette, told apart with any colour vision.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_ROWS = (MAIN, INTRINSIC, DOWNSTREAM)


def band_figure(study: Study, page: Page) -> Figure:
    """One figure: a column per panel; retention above, that of the control below it, then the downstream loss.

    An arm of five runs or more is a line with a band, the mean and its 95 % interval; of fewer each run is a thin line.
    """
    curves = {arm: bands(study, arm) for panel in page.panels for arm in panel.lines.values()}
    rows = [name for name in _ROWS if any(name in of_arm for of_arm in curves.values())]
    columns = len(page.panels)
    size = (max(3.4 * columns + 0.8, 6.0), 2.3 * len(rows) + 1.6)
    figure = Figure(figsize=size, layout="constrained")
    every = figure.subplots(len(rows), columns, sharex="col", sharey="row", squeeze=False)
    colors = _colors_of(page)
    for column, panel in enumerate(page.panels):
        every[0][column].set_title(figure_text(panel.title), fontsize=11)
        for row, name in enumerate(rows):
            axes = every[row][column]
            for line, arm in panel.lines.items():
                if name in curves[arm]:
                    _draw(axes, curves[arm][name], colors[line])
            _dress(axes, name, study, first=column == 0, last=row == len(rows) - 1)
    _legend(figure, colors)
    figure.suptitle(figure_text("\n".join(filter(None, (study.sweep.name, page.title)))), fontsize=12)
    return figure


def _colors_of(page: Page) -> dict[str, str]:
    """A color for each line, the same one in all panels."""
    lines = dict.fromkeys(line for panel in page.panels for line in panel.lines)
    return dict(zip(lines, _COLORS, strict=False))


def _draw(axes: Axes, band: Band, color: str) -> None:
    if band.has_band:
        means = [item.mean for item in band.estimates]
        axes.plot(band.steps, means, "o-", color=color, markersize=3, linewidth=1.8)
        low, high = ([getattr(item, end) for item in band.estimates] for end in ("low", "high"))
        axes.fill_between(band.steps, low, high, color=color, alpha=0.2, linewidth=0)
        return
    for run in zip(*(item.values for item in band.estimates), strict=True):
        axes.plot(band.steps, run, "-", color=color, linewidth=0.8, alpha=0.8)


def _dress(axes: Axes, name: str, study: Study, first: bool, last: bool) -> None:
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=9)
    if name != DOWNSTREAM:
        axes.set_ylim(-0.03, 1.03)
    if first:
        axes.set_ylabel(name if name == DOWNSTREAM else f"retention ({study.rule}),\n{name}", fontsize=10)
    if last:
        axes.set_xlabel("optimizer steps", fontsize=10)


def _legend(figure: Figure, colors: Mapping[str, str]) -> None:
    axes = figure.axes[0]
    handles = [axes.plot([], [], "-", color=color, linewidth=2)[0] for color in colors.values()]
    figure.legend(
        handles,
        [figure_text(line) for line in colors],
        loc="outside lower center",
        ncols=min(len(colors), 3),
        fontsize=9,
    )
