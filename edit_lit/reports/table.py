"""Tables: the scores of one run before, after the edit and after fine-tuning, and runs side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edit_lit.measures.outcomes import Outcomes, Pool
from edit_lit.measures.scores import SCORE_NAMES, Rule, TransitionCounts, wilson_interval
from edit_lit.reports.escaping import markdown_text
from edit_lit.reports.notes import last_column, name_mark
from edit_lit.reports.run import Run, short_names
from edit_lit.reports.score_records import half_life_of, score_at, seen_apart, shown_rules, stages_of

Row = tuple[str, ...]

HEADER: Row = ("", "before the edit", "after the edit")
GUARD_SAW = {"seen": "of these, a guard learnt from", "unseen": "no guard learnt from"}


def run_header(run: Run) -> Row:
    """The columns of a run's table."""
    return (*HEADER, last_column(run))


def run_table(run: Run, rule: Rule = Rule.EXACT) -> list[Row]:
    """Rows of one run, in the columns of ``run_header``: by ``prob``, by ``exact``, and by the asked rule.

    Args:
        run: The run.
        rule: The success rule of half-life and of what became of lost facts.
    """
    rows: list[Row] = []
    rules = shown_rules(rule)
    rows += score_rows([stage.outcomes for stage in stages_of(run)], rules)
    for pool in dict.fromkeys((run.main_pool, Pool.INTRINSIC)):
        for each in rules:
            rows += _retention_rows(run, pool, each, main=each is rule and pool is run.main_pool)
    for tag, label in (("val_accuracy", "downstream accuracy"), ("val_loss", "downstream loss")):
        series = run.downstream.get(tag)
        if series:
            show = _percent if tag == "val_accuracy" else "{:.3f}".format
            rows.append((label, "", "", f"{show(series[-1][1])} at step {series[-1][0]}"))
    return rows


def score_rows(stages: Sequence[Outcomes | None], rules: Sequence[Rule] = (Rule.PROB, Rule.EXACT)) -> list[Row]:
    """The edited facts' scores at several stages, a column each."""
    rows: list[Row] = []
    for name in (*SCORE_NAMES.values(), "score"):
        for rule in rules:
            cells = tuple(_percent(score_at(stage, name, rule)) for stage in stages)
            if any(cells):
                rows.append((f"{name} ({rule})", *cells))
    return rows


def _retention_rows(run: Run, pool: Pool, rule: Rule, main: bool) -> list[Row]:
    transitions = run.transitions(pool, rule)
    if not transitions:
        return []
    last = list(transitions.values())[-1]
    rows: list[Row] = []
    if last.already_right:
        facts = last.total + last.already_right
        rows.append((f"right before the edit, not counted ({rule})", f"{last.already_right} of {facts}", "", ""))
    if not last.baseline_successes:
        return rows
    made_right = _percent(last.baseline_successes / last.total)
    rows.append((f"retention, {pool} ({rule})", "", made_right, retention_text(last)))
    by = "" if rule is Rule.EXACT else f" ({rule})"
    for seen, counts in seen_apart(run, pool, rule).items():
        rows.append((f"{GUARD_SAW[seen]} ({rule})", "", "", retention_text(counts)))
    if main:
        if len(transitions) > 1:
            half = half_life_of(transitions)
            text = f"step {half}" if half is not None else f"beyond step {max(transitions)}"
            rows.append((f"half-life{by}", "", "", text))
        # What a control says instead of what it knew is no object that it goes back to.
        if last.erased and pool is Pool.EDITED:
            rows.append((f"erased: reverted / displaced{by}", "", "", f"{last.reverted} / {last.displaced}"))
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


def comparison_table(runs: Sequence[Run], rule: Rule = Rule.EXACT) -> list[Row]:
    """Runs side by side, in the columns of ``COMPARISON_HEADER``, by one rule.

    Scores are those right after the edit and those at the last probe: after fine-tuning, unless a mark behind the run's
    name says how far it came.
    """
    return [_comparison_row(run, name, rule) for run, name in zip(runs, short_names(runs), strict=True)]


def _comparison_row(run: Run, name: str, rule: Rule) -> Row:
    mark = name_mark(run)
    seconds = "" if run.edit_seconds is None else f"{run.edit_seconds:.1f}"
    cells: list[str] = [f"{name} ({mark})" if mark else name, seconds]
    curve = list(run.curve(Pool.EDITED).values())
    for score in ("efficacy", "generalization", "specificity"):
        ends = [_percent(score_at(outcomes, score, rule)) for outcomes in (*curve[:1], *curve[-1:])]
        cells.append(" → ".join(filter(None, ends)))
    for pool in (run.main_pool, Pool.INTRINSIC):
        transitions = list(run.transitions(pool, rule).values())
        cells.append(retention_text(transitions[-1]) if transitions and transitions[-1].baseline_successes else "")
    accuracy = run.downstream.get("val_accuracy")
    if not accuracy:
        return (*cells, "")
    step, value = accuracy[-1]
    return (*cells, _percent(value) if step == run.last_step else f"{_percent(value)} at step {step}")


def markdown_table(header: Row, rows: Sequence[Row]) -> str:
    """A Markdown table."""
    escaped = [tuple(markdown_text(cell) for cell in line) for line in (header, *rows)]
    lines = [escaped[0], tuple("---" for _ in header), *escaped[1:]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
