"""The half-life of a sweep's arms: when half of the facts have been lost, in the mean over runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edit_lit.analysis.study import Study
from edit_lit.analysis.sweep import Labels
from edit_lit.measures.scores import half_life
from edit_lit.measures.survival import Loss, alive
from edit_lit.reports.table_files import Table

HEADING = "half-life"


def half_life_text(study: Study, arm: Labels) -> str:
    """The first step at which half of the facts or fewer were never lost, or that it lies behind the last probe.

    The mean is over runs, each with equal weight, at the steps that all of them were probed at. Nothing is said of runs
    that share no step behind the first.
    """
    runs = study.cells[arm].values()
    curves = [run.curves[run.pool] for run in runs if run.pool is not None and run.pool in run.curves]
    shared = sorted(set.intersection(*(set(curve.steps.tolist()) for curve in curves))) if curves else []
    if len(shared) < 2:
        return ""
    shares = []
    for curve in curves:
        survival = alive(curve.right_TF, Loss.FIRST).mean(axis=1)
        shares.append(survival[np.isin(curve.steps, shared)])
    found = half_life(shared, np.mean(shares, axis=0).tolist())
    return f"> {shared[-1]}" if found is None else str(found)


def with_half_lives(study: Study, table: Table) -> Table:
    """A table of arms with a column for their half-life."""
    texts = [half_life_text(study, arm) for arm in study.arms]
    rows = [(*row, text) for row, text in zip(table.rows, texts, strict=True)]
    records: list[dict[str, object]] = [
        {**dict(arm), "quantity": "half_life_of_first_losses", "values": text}
        for arm, text in zip(study.arms, texts, strict=True)
    ]
    note = "half-life: the first step at which half of the facts or fewer were never lost, in the mean over runs"
    return replace(
        table,
        header=(*table.header, HEADING),
        rows=rows,
        records=[*table.records, *records],
        notes=[*table.notes, note],
    )
