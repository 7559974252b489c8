"""The charts that belong to a run: which scores are drawn together."""

from __future__ import annotations

from edit_lit.measures.curve import curve_point
from edit_lit.measures.fates import FATES
from edit_lit.measures.outcomes import Outcomes, Pool
from edit_lit.reports.metrics_file import Series
from edit_lit.reports.run import Run

CHARTS = {
    "retention over downstream accuracy": (
        "retention/edited/exact",
        "retention/unedited/exact",
        "retention/intrinsic/exact",
        "downstream/val_accuracy",
    ),
    "edited facts": ("edit/efficacy/exact", "edit/generalization/exact", "edit/specificity/exact"),
    "what became of them": tuple(f"fates/{fate}/exact" for fate in FATES),
}
"""Scores between 0 and 1 by the charts' titles."""


def chart_lines(run: Run) -> dict[str, dict[str, Series]]:
    """The lines of each chart, those that a run has, by their tags."""
    series: dict[str, Series] = {f"downstream/{tag}": points for tag, points in run.downstream.items()}
    for step, point in points_of(run).items():
        for tag, value in point.items():
            series.setdefault(tag, []).append((step, value))
    charts = {title: {tag: series[tag] for tag in tags if tag in series} for title, tags in CHARTS.items()}
    return {title: lines for title, lines in charts.items() if lines}


def points_of(run: Run) -> dict[int, dict[str, float]]:
    """The scores of each probe of a run by step, each score under its tag, as they were logged."""
    curves = {pool: curve for pool in run.probes if (curve := run.curve(pool))}
    baseline = {pool: next(iter(curve.values())) for pool, curve in curves.items()}
    before: dict[Pool, Outcomes] = {pool: rows for pool in curves if (rows := run.before(pool)) is not None}
    steps = sorted({step for curve in curves.values() for step in curve})
    return {
        step: curve_point(baseline, {pool: curve[step] for pool, curve in curves.items() if step in curve}, before)
        for step in steps
    }
