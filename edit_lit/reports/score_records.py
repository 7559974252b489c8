"""The scores of runs as records: each number behind a cell of their tables, unrounded, in a row of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace

from edit_lit.measures.outcomes import Outcomes, Pool
from edit_lit.measures.scores import (
    SCORE_NAMES,
    Rule,
    TransitionCounts,
    applies,
    edit_scores,
    half_life,
    wilson_interval,
)
from edit_lit.reports.notes import name_mark
from edit_lit.reports.run import Run, short_names

BEFORE, AFTER, LAST = "before_edit", "after_edit", "last"
"""Stages: the unedited model, the baseline right after the edit, and the last probe or evaluation."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """One number of a run.

    Args:
        quantity: What it is.
        pool: The facts that it is of; none where it is of no facts.
        rule: The success rule; none where there is none.
        stage: When it was measured, as a word.
        step: The same as a step; none for the unedited model.
        value: The number: a share between 0 and 1, a count, a step, a loss or seconds; NaN if it is not known.
        low: Lower end of its 95 % interval, if it has one.
        high: Upper end.
        facts: Over how many facts a share is, or among how many a count is.
    """

    quantity: str
    pool: Pool | None = None
    rule: Rule | None = None
    stage: str | None = None
    step: int | None = None
    value: float
    low: float = math.nan
    high: float = math.nan
    facts: int | None = None


COLUMNS = ("run", "mark", *(field.name for field in fields(Number)))
"""The columns of records; ``mark`` says that a run is a control, or how far it came."""


@dataclass(frozen=True)
class Stage:
    """The edited facts at one time.

    Args:
        name: When.
        step: The same as a step; none for the unedited model.
        outcomes: What was answered; none if nobody asked.
    """

    name: str
    step: int | None
    outcomes: Outcomes | None


def run_records(run: Run, rule: Rule = Rule.EXACT) -> list[dict[str, object]]:
    """The numbers of one run, in ``COLUMNS``, by the rules of its table.

    Args:
        run: The run.
        rule: The success rule of half-life and of what became of lost facts.
    """
    return _records(run, run.name, shown_rules(rule), rule)


def comparison_records(runs: Sequence[Run], rule: Rule = Rule.EXACT) -> list[dict[str, object]]:
    """The numbers of several runs, in ``COLUMNS``, by one rule."""
    names = zip(runs, short_names(runs), strict=True)
    return [record for run, name in names for record in _records(run, name, (rule,), rule)]


def shown_rules(rule: Rule) -> tuple[Rule, ...]:
    """The rules of a run's table: ``prob``, ``exact`` and the asked one."""
    return tuple(dict.fromkeys((Rule.PROB, Rule.EXACT, rule)))


def stages_of(run: Run) -> list[Stage]:
    """The edited facts before the edit, right after it and at the last probe; none if nothing was edited."""
    curve = list(run.curve(Pool.EDITED).items())
    if not curve:
        return []
    return [Stage(BEFORE, None, run.before(Pool.EDITED)), Stage(AFTER, *curve[0]), Stage(LAST, *curve[-1])]


def score_at(outcomes: Outcomes | None, name: str, rule: Rule) -> float:
    """A score by its name; NaN where nobody asked for it."""
    return math.nan if outcomes is None else edit_scores(outcomes, rule).get(name, math.nan)


def _records(run: Run, name: str, rules: Sequence[Rule], rule: Rule) -> list[dict[str, object]]:
    numbers = [*_edit_seconds(run), *_scores(run, rules)]
    for pool in dict.fromkeys((run.main_pool, Pool.INTRINSIC)):
        for each in rules:
            numbers += _retention(run, pool, each, main=each is rule and pool is run.main_pool)
    numbers += _downstream(run)
    return [{"run": name, "mark": name_mark(run), **asdict(number)} for number in numbers]


def _edit_seconds(run: Run) -> Iterator[Number]:
    if run.edit_seconds is not None:
        yield Number(quantity="edit_seconds", value=run.edit_seconds)


def _scores(run: Run, rules: Sequence[Rule]) -> Iterator[Number]:
    """Each score at all stages, if it is known at any."""
    for name in (*SCORE_NAMES.values(), "score"):
        for rule in rules:
            numbers = [_score(stage, name, rule) for stage in stages_of(run)]
            if not all(math.isnan(number.value) for number in numbers):
                yield from numbers


def _score(stage: Stage, name: str, rule: Rule) -> Number:
    return Number(
        quantity=name,
        pool=Pool.EDITED,
        rule=rule,
        stage=stage.name,
        step=stage.step,
        value=score_at(stage.outcomes, name, rule),
        facts=_judged(stage.outcomes, name, rule),
    )


def _judged(outcomes: Outcomes | None, name: str, rule: Rule) -> int | None:
    """Over how many facts a score is a mean; none for the mean of several scores."""
    kind = next((kind for kind, of_kind in SCORE_NAMES.items() if of_kind == name), None)
    if outcomes is None or kind is None:
        return None
    rows = outcomes.of_kind(kind)
    return len(rows.request[applies(rows, rule)].unique())


def _retention(run: Run, pool: Pool, rule: Rule, main: bool) -> Iterator[Number]:
    """What became of a pool's facts, if the rule can judge any."""
    transitions = run.transitions(pool, rule)
    if not transitions:
        return
    (first, _), (end, last) = next(iter(transitions.items())), list(transitions.items())[-1]
    made, asked = last.baseline_successes, last.total + (last.already_right or 0)
    if not asked:
        return

    def number(quantity: str, stage: str, step: int | None, value: float, facts: int) -> Number:
        return Number(quantity=quantity, pool=pool, rule=rule, stage=stage, step=step, value=value, facts=facts)

    if last.already_right is not None:
        yield number("already_right", BEFORE, None, last.already_right, asked)
    yield number("right_at_baseline", AFTER, first, made / last.total if last.total else math.nan, last.total)
    low, high = wilson_interval(last.stable, made)
    yield replace(number("retention", LAST, end, last.retention, made), low=low, high=high)
    for seen, counts in seen_apart(run, pool, rule).items():
        low, high = wilson_interval(counts.stable, counts.baseline_successes)
        share = number(f"retention_{seen}_by_guards", LAST, end, counts.retention, counts.baseline_successes)
        yield replace(share, low=low, high=high)
    if main and made:
        if len(transitions) > 1:
            half = half_life_of(transitions)
            yield number("half_life", LAST, end, math.nan if half is None else half, made)
        # What a control says instead of what it knew is no object that it goes back to.
        if pool is Pool.EDITED:
            yield number("reverted", LAST, end, last.reverted, last.erased)
            yield number("displaced", LAST, end, last.displaced, last.erased)


def seen_apart(run: Run, pool: Pool, rule: Rule) -> dict[str, TransitionCounts]:
    """What became at the last probe of the facts that a guard learnt from, ``seen``, and of the others, ``unseen``.

    Empty if no guard learnt from any, or they are of another pool; without those of which no fact was right.
    """
    groups = run.seen_by_guards if pool is run.main_pool else {}
    last = {name: list(run.transitions(pool, rule, among=facts).values())[-1] for name, facts in groups.items()}
    return {name: counts for name, counts in last.items() if counts.baseline_successes}


def half_life_of(transitions: Mapping[int, TransitionCounts]) -> int | None:
    """The first step at which half of the facts or fewer are retained; nothing if it lies behind the last probe."""
    return half_life(list(transitions), [counts.retention for counts in transitions.values()])


def _downstream(run: Run) -> Iterator[Number]:
    for tag, quantity in (("val_accuracy", "downstream_accuracy"), ("val_loss", "downstream_loss")):
        points = run.downstream.get(tag)
        if points:
            step, value = points[-1]
            yield Number(quantity=quantity, stage=LAST, step=step, value=value)
