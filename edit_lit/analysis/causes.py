"""Why the edits of a sweep's arms were lost, as tables and as a figure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from matplotlib.figure import Figure

from edit_lit.analysis.quantities import CAUSE, LOST, NATS_LOST, PUT_BACK, Quantity
from edit_lit.analysis.study import Study
from edit_lit.analysis.tables import arms_table
from edit_lit.attribution.groups import GROUPS
from edit_lit.reports.causes_figure import draw_costs
from edit_lit.reports.escaping import figure_text
from edit_lit.reports.table_files import Table

TITLE = "Why were edits lost?"
MOST_ARMS = 40


def causes_tables(study: Study) -> list[Table]:
    """What lost edits were lost to, and what brings them back; no rows unless causes were looked for."""
    notes = (
        "of the lost edits of runs that were fine-tuned with --attribution.enabled true, or explained later, by this "
        "rule and at their last step; nats of the margin per token, means over a run's lost edits and then over runs, "
        "of which those that lost none do not count",
    )
    return [
        _with_notes(study, "causes", TITLE, (*CAUSE.values(), *NATS_LOST.values()), notes),
        _with_notes(study, "put_back", "What brings lost edits back?", tuple(PUT_BACK.values()), notes),
    ]


def _with_notes(study: Study, name: str, title: str, quantities: tuple[Quantity, ...], notes: tuple[str, ...]) -> Table:
    if not study.present((LOST,)):
        return Table(name, title, (), ())
    table = arms_table(study, name, title, (LOST, *quantities))
    return replace(table, notes=(*table.notes, *notes))


def causes_figures(study: Study) -> Iterator[Figure]:
    """What each group of parameters cost a lost edit, a row of bars for each arm with lost edits; forty in a figure."""
    every = [arm for arm in study.arms if not math.isnan(study.estimate(arm, NATS_LOST[GROUPS[0]]).mean)]
    for start in range(0, len(every), MOST_ARMS):
        arms = every[start : start + MOST_ARMS]
        figure = Figure(figsize=(8.0, 1.6 + 0.24 * len(arms)), layout="constrained")
        axes = figure.subplots()
        means = {group: [study.estimate(arm, NATS_LOST[group]).mean for arm in arms] for group in GROUPS}
        draw_costs(axes, means)
        lost = [study.estimate(arm, LOST).mean for arm in arms]
        names = [f"{study.arm_title(arm)} ({count:.1f} lost)" for arm, count in zip(arms, lost, strict=True)]
        axes.set_yticks(range(len(arms)), [figure_text(name) for name in names], fontsize=7)
        axes.set_xlabel("nats per token that each group cost a lost edit, mean over runs")
        figure.legend(loc="outside lower center", ncols=len(GROUPS), fontsize=8)
        figure.suptitle(f"{TITLE} ({study.rule})", fontsize=11)
        yield figure
