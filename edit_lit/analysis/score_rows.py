"""Every score of a run at every probe, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from edit_lit.measures.curve import BINARY_RULES
from edit_lit.measures.outcomes import KINDS, Kind, Outcomes, Pool
from edit_lit.measures.scores import (
    SCORE_NAMES,
    Rule,
    TransitionCounts,
    applies,
    edit_scores,
    margin,
    target_probability,
)
from edit_lit.reports.run import Run


@dataclass(frozen=True)
class ScoreRow:
    """A score of a run at a step.

    Args:
        step: Optimizer steps taken; −1 for the unedited model.
        score: The score's name.
        value: Its value; nothing where it cannot be known.
        pool: Which facts were asked; none for scores of the downstream task.
        rule: The success rule; none for a score without one.
        count: How many questions, or for shares of transitions how many facts, it is a mean over.
        not_a_number: How many of them have an answer that is not a number, which leaves the score without a value.
    """

    step: int
    score: str
    value: float | None
    pool: str | None = None
    rule: str | None = None
    count: int | None = None
    not_a_number: int | None = None


def score_rows(run: Run) -> Iterator[ScoreRow]:
    """All scores of a run: those of the model's answers by pool, step and rule, and those of the downstream task."""
    for pool, probes in run.probes.items():
        for step, outcomes in probes.items():
            yield from _answer_rows(step, pool, outcomes)
        for rule in BINARY_RULES:
            for step, counts in run.transitions(pool, rule).items():
                yield from _transition_rows(step, pool, rule, counts)
    for tag, series in run.metrics.items():
        for step, value in series:
            yield ScoreRow(step, f"downstream/{tag}", value)


def _answer_rows(step: int, pool: Pool, outcomes: Outcomes) -> Iterator[ScoreRow]:
    for rule in Rule:
        sizes = {SCORE_NAMES[kind]: _sizes(outcomes.of_kind(kind), rule) for kind in KINDS}
        main = [sizes[SCORE_NAMES[kind]] for kind in KINDS[:3]]
        sizes["score"] = sum(asked for asked, _ in main), sum(broken for _, broken in main)
        for name, value in edit_scores(outcomes, rule).items():
            yield ScoreRow(step, name, _known(value), str(pool), str(rule), *sizes[name])
    size, lost = _sizes(outcomes.of_kind(Kind.REWRITE), Rule.EXACT)
    for name, value in (("target_prob", target_probability(outcomes)), ("margin", margin(outcomes))):
        yield ScoreRow(step, name, _known(value), str(pool), None, size, lost)


def _sizes(outcomes: Outcomes, rule: Rule) -> tuple[int, int]:
    """How many questions a rule judges, and how many of them have an answer that is not a number."""
    asked = outcomes[applies(outcomes, rule)]
    return len(asked), int(asked.not_a_number().sum())


def _transition_rows(step: int, pool: Pool, rule: Rule, counts: TransitionCounts) -> Iterator[ScoreRow]:
    of_baseline = {"retention": counts.retention, "edit_flip_rate": counts.edit_flip_rate}
    for size, scores in ((counts.baseline_successes, of_baseline), (counts.total, counts.shares())):
        for name, value in scores.items():
            yield ScoreRow(step, name, _known(value), str(pool), str(rule), size, counts.not_a_number)


def _known(value: float) -> float | None:
    return value if value == value else None


def as_columns(rows: list[ScoreRow]) -> dict[str, list[object]]:
    """Rows as columns by name."""
    return {field.name: [getattr(row, field.name) for row in rows] for field in fields(ScoreRow)}
