"""Which edits were lost, by the outcomes of a run's probes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edit_lit.facts.request import EditRequest
from edit_lit.measures.outcomes import Kind, Outcomes
from edit_lit.measures.scores import Rule, applies, success


@dataclass(frozen=True)
class Losses:
    """The edits that were lost, among all that were asked about.

    Args:
        numbers: Positions of the lost edits among the requests.
        took: How many facts the edit made right.
        never_took: How many were wrong right after the edit, too; there is nothing that they could lose.
        already_right: How many were right before the edit, which is none of its doing.
    """

    numbers: tuple[int, ...]
    took: int
    never_took: int
    already_right: int


def find_losses(before: Outcomes | None, baseline: Outcomes, now: Outcomes, rule: Rule = Rule.EXACT) -> Losses:
    """The edits that were wrong before, right right after the edit, and are wrong now, as retention counts them.

    Args:
        before: Outcomes of the unedited model; none if it was not asked, and then nothing was right before.
        baseline: Outcomes right after the edit.
        now: Outcomes now.
        rule: The success rule; facts to which it does not apply are left out.
    """
    rows = [stage.of_kind(Kind.REWRITE) for stage in (baseline, now, before) if stage is not None]
    asked = applies(rows[0], rule)
    right, right_now, *rest = [success(stage, rule) for stage in rows]
    already = (rest[0] == 1) & asked if rest else asked & False
    took = asked & (right == 1) & ~already
    lost = rows[0].request[took & ~right_now.isnan() & (right_now < 1)]
    never = asked & (right < 1) & ~already
    return Losses(tuple(lost.tolist()), int(took.sum()), int(never.sum()), int(already.sum()))


def prompt_alone(request: EditRequest) -> EditRequest:
    """A request of which nothing but its own prompt is asked."""
    return replace(request, paraphrases=(), neighborhood=(), portability=())
