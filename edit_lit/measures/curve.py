"""Points of the decay curve: what is logged at each probe."""

from __future__ import annotations

from collections.abc import Mapping

from edit_lit.measures.fates import fates_of
from edit_lit.measures.outcomes import Outcomes, Pool
from edit_lit.measures.scores import Rule, edit_scores, margin, target_probability, transition_counts

BEFORE_EDIT = -1
"""The step under which outcomes of the unedited model are recorded."""

Point = dict[str, float]
"""The scores of one probe by their tags, such as ``retention/edited/exact``."""

BINARY_RULES = (Rule.PROB, Rule.EXACT, Rule.FIRST)


def curve_point(
    baseline: Mapping[Pool, Outcomes], now: Mapping[Pool, Outcomes], before: Mapping[Pool, Outcomes] | None = None
) -> Point:
    """All scores of one probe, by their tags.

    A pool with an answer that is not a number has no scores, but the count of such answers, as
    ``probe/edited/not_a_number``, and the shares of the edited facts by their fate.

    Args:
        baseline: Outcomes right before the first training step, by pool.
        now: Outcomes at this step, by pool.
        before: Outcomes of the unedited model, by pool, if they are known. Retention of the edited facts is then that
            of those which the edit made right.
    """
    point: Point = {}
    for pool, outcomes in now.items():
        broken = int(outcomes.not_a_number().sum())
        if broken:
            point[f"probe/{pool}/not_a_number"] = broken
        known = (before or {}).get(pool) if pool is Pool.EDITED else None
        if not broken:
            point |= _scores(pool, baseline[pool], outcomes, known)
        if pool is Pool.EDITED:
            point |= _fates(baseline[pool], outcomes, known)
    # A rule that applies to no fact (no alternatives, or no success to retain) gives NaN: nothing to plot.
    return {tag: value for tag, value in point.items() if value == value}


def _fates(baseline: Outcomes, now: Outcomes, before: Outcomes | None) -> Point:
    """The share of each fate among the facts that count."""
    point: Point = {}
    for rule in BINARY_RULES:
        fates = fates_of({0: baseline, 1: now}, rule, before)
        if len(fates):
            point |= {f"fates/{fate}/{rule}": int(counts[-1]) / len(fates) for fate, counts in fates.counts().items()}
    return point


def _scores(pool: Pool, baseline: Outcomes, now: Outcomes, before: Outcomes | None) -> Point:
    counts = {rule: transition_counts(baseline, now, rule, before=before) for rule in BINARY_RULES}
    point = {f"retention/{pool}/{rule}": of_rule.retention for rule, of_rule in counts.items()}
    if pool is not Pool.EDITED:
        return point
    point |= {"edit/target_prob": target_probability(now), "edit/margin": margin(now)}
    for rule in Rule:
        point |= {f"edit/{name}/{rule}": value for name, value in edit_scores(now, rule).items()}
    for rule, of_rule in counts.items():
        point[f"retention/efr/{rule}"] = of_rule.edit_flip_rate
        point |= {f"retention/{name}/{rule}": share for name, share in of_rule.shares().items()}
    return point
