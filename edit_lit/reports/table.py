"""Tables: the scores of one run before, after the edit and after fine-tuning, and runs side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edit_lit.measures.outcomes import Outcomes, Pool
from edit_lit.measures.scores import SCORE_NAMES, Rule, TransitionCounts, edit_scores, half_life, wilson_interval
from edit_lit.reports.run import Run, short_names

Row = tuple[str, ...]

HEADER: Row = ("", "before the edit", "after the edit", "after fine-tuning")


def run_table(run: Run) -> list[Row]:
    """Rows of one run, in the columns of ``HEADER``."""
    rows: list[Row] = []
    curve = run.curve(Pool.EDITED)
    if curve:
        rows += score_rows([run.before(Pool.EDITED), next(iter(curve.values())), list(curve.values())[-1]])
    for pool in (run.main_pool, Pool.INTRINSIC):
        for rule in (Rule.PROB, Rule.EXACT):
            rows += _retention_rows(run, pool, rule)
    for tag, label in (("val_accuracy", "downstream accuracy"), ("val_loss", "downstream loss")):
        series = run.downstream.get(tag)
        if series:
            show = _percent if tag == "val_accuracy" else "{:.3f}".format
            rows.append((label, "", "", f"{show(series[-1][1])} at step {series[-1][0]}"))
    return rows


def score_rows(stages: Sequence[Outcomes | None]) -> list[Row]:
    """The edited facts' scores at several stages, a column each."""
    rows: list[Row] = []
    for name in (*SCORE_NAMES.values(), "score"):
        for rule in (Rule.PROB, Rule.EXACT):
            cells = tuple(_percent(_score(stage, name, rule)) for stage in stages)
            if any(cells):
                rows.append((f"{name} ({rule})", *cells))
    return rows


def _score(outcomes: Outcomes | None, name: str, rule: Rule) -> float:
    return math.nan if outcomes is None else edit_scores(outcomes, rule).get(name, math.nan)


def _retention_rows(run: Run, pool: Pool, rule: Rule) -> list[Row]:
    transitions = run.transitions(pool, rule)
    if not transitions:
        return []
    last = list(transitions.values())[-1]
    if not last.baseline_successes:
        return []
    rows: list[Row] = [
        (f"retention, {pool} ({rule})", "", _percent(last.baseline_successes / last.total), retention_text(last))
    ]
    if pool is run.main_pool and rule is Rule.EXACT:
        half = half_life(list(transitions), [step_counts.retention for step_counts in transitions.values()])
        rows.append(("half-life", "", "", f"step {half}" if half is not None else f"beyond step {max(transitions)}"))
        if last.erased:
            rows.append(("erased: reverted / displaced", "", "", f"{last.reverted} / {last.displaced}"))
    return rows


def retention_text(last: TransitionCounts) -> str:
    """Retention with its 95 % interval and the counts behind it."""
    low, high = wilson_interval(last.stable, last.baseline_successes)
    return f"{last.retention:.1%} [{low:.1%}, {high:.1%}] of {last.baseline_successes}"


def _percent(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1%}"


COMPARISON_HEADER: Row = (
    "run",
    "edit, s",
    "efficacy",
    "generalization",
    "specificity",
    "retention [95 %]",
    "intrinsic [95 %]",
    "downstream",
)


def comparison_table(runs: Sequence[Run]) -> list[Row]:
    """Runs side by side, in the columns of ``COMPARISON_HEADER``, by the ``exact`` rule.

    Scores are those right after the edit and those after fine-tuning.
    """
    return [_comparison_row(run, name) for run, name in zip(runs, short_names(runs), strict=True)]


def _comparison_row(run: Run, name: str) -> Row:
    cells: list[str] = [name, "" if run.edit_seconds is None else f"{run.edit_seconds:.1f}"]
    curve = list(run.curve(Pool.EDITED).values())
    for score in ("efficacy", "generalization", "specificity"):
        ends = [_percent(_score(outcomes, score, Rule.EXACT)) for outcomes in (*curve[:1], *curve[-1:])]
        cells.append(" → ".join(filter(None, ends)))
    for pool in (run.main_pool, Pool.INTRINSIC):
        transitions = list(run.transitions(pool, Rule.EXACT).values())
        cells.append(retention_text(transitions[-1]) if transitions and transitions[-1].baseline_successes else "")
    accuracy = run.downstream.get("val_accuracy")
    return (*cells, _percent(accuracy[-1][1]) if accuracy else "")


def markdown_table(header: Row, rows: list[Row]) -> str:
    """A Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
