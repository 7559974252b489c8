"""The edited facts that were lost: what was asked, what the edit had said, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence

from edit_lit.facts.request import EditRequest
from edit_lit.measures.outcomes import Kind, Outcomes, Pool
from edit_lit.measures.scores import Rule, success
from edit_lit.reports.run import Run
from edit_lit.reports.table import Row

LOST_HEADER: Row = ("question", "the edit said", "became", "lost by step")


def lost_facts(run: Run, requests: Sequence[EditRequest], rule: Rule = Rule.EXACT) -> list[Row]:
    """The facts that the edit made right and that fail at the last probe, in the order in which they were lost.

    Args:
        run: The run.
        requests: Its edited facts.
        rule: The success rule.

    Returns:
        Rows in the columns of ``LOST_HEADER``: whether a fact was reverted to what the model knew or displaced by
        something else, and the first probe from which on it failed.
    """
    curve = {step: outcomes.of_kind(Kind.REWRITE) for step, outcomes in run.curve(Pool.EDITED).items()}
    if not curve:
        return []
    steps, rows = list(curve), list(curve.values())
    before = run.before(Pool.EDITED)
    known = _right(before.of_kind(Kind.REWRITE), rule) if before is not None else set()
    lost = (_right(rows[0], rule) - known) - _right(rows[-1], rule)
    right_at = {step: _right(outcomes, rule) for step, outcomes in curve.items()}
    lost_by = {fact: _first_of_last_failures(fact, right_at, steps) for fact in lost}
    reverted = set(rows[-1].request[rows[-1].exact[:, 1] == 1].tolist())
    return [
        _row(requests[fact], fact in reverted, lost_by[fact])
        for fact in sorted(lost, key=lambda fact: (lost_by[fact], fact))
    ]


def _right(outcomes: Outcomes, rule: Rule) -> set[int]:
    return set(outcomes.request[success(outcomes, rule) == 1].tolist())


def _first_of_last_failures(fact: int, right_at: dict[int, set[int]], steps: Sequence[int]) -> int:
    last_right = max(place for place, step in enumerate(steps) if fact in right_at[step])
    return steps[last_right + 1]


def _row(request: EditRequest, reverted: bool, step: int) -> Row:
    became = f"reverted to {request.target_true}" if reverted else "displaced"
    return (request.question, request.target_new, became, str(step))
