"""Points of the decay curve: what is logged at each probe."""

from __future__ import annotations

from collections.abc import Mapping

from edit_lit.measures.outcomes import Outcomes, Pool
from edit_lit.measures.scores import Rule, edit_scores, margin, target_probability, transition_counts

BEFORE_EDIT = -1
"""The step under which outcomes of the unedited model are recorded."""

Point = dict[str, float]
"""The scores of one probe by their tags, such as ``retention/edited/exact``."""

BINARY_RULES = (Rule.PROB, Rule.EXACT, Rule.FIRST)


def curve_point(baseline: Mapping[Pool, Outcomes], now: Mapping[Pool, Outcomes]) -> Point:
    """All scores of one probe, by their tags.

    Args:
        baseline: Outcomes right before the first training step, by pool.
        now: Outcomes at this step, by pool.
    """
    point: Point = {}
    for pool, outcomes in now.items():
        for rule in BINARY_RULES:
            point[f"retention/{pool}/{rule}"] = transition_counts(baseline[pool], outcomes, rule).retention
    if Pool.EDITED in now:
        point |= _edited_point(baseline[Pool.EDITED], now[Pool.EDITED])
    # A rule that applies to no fact (no alternatives, or no success to retain) gives NaN: nothing to plot.
    return {tag: value for tag, value in point.items() if value == value}


def _edited_point(baseline: Outcomes, now: Outcomes) -> Point:
    point = {"edit/target_prob": target_probability(now), "edit/margin": margin(now)}
    for rule in Rule:
        point |= {f"edit/{name}/{rule}": value for name, value in edit_scores(now, rule).items()}
    for rule in BINARY_RULES:
        transitions = transition_counts(baseline, now, rule)
        if transitions.total:
            point[f"retention/efr/{rule}"] = transitions.edit_flip_rate
            point |= {f"retention/{name}/{rule}": share for name, share in transitions.shares().items()}
    return point
