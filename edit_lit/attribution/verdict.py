"""The rule that names the cause of a lost edit."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from edit_lit.attribution.groups import Group


class Verdict(StrEnum):
    """Why an edit is lost."""

    OVERWRITTEN = "overwritten"
    KEY_DRIFT = "key drift"
    READOUT_DRIFT = "readout drift"
    MIXED = "mixed"


CAUSES = {
    Group.WRITTEN: Verdict.OVERWRITTEN,
    Group.BELOW: Verdict.KEY_DRIFT,
    Group.ABOVE: Verdict.READOUT_DRIFT,
}


def verdict_of(losses: Mapping[Group, float]) -> tuple[Verdict, float]:
    """Name the cause of one lost edit.

    The rule: of all groups that cost the edit something, the one that cost most is the cause if it cost more than half
    of what they cost together; else the cause is *mixed*. Groups that gave something back count as nothing.
    ``written`` means *overwritten*, ``below`` *key drift*, ``above`` *readout drift*. ``outside`` is counted but names
    no cause, since embeddings feed the keys and a head reads: where it cost most, the cause is *mixed*.

    Args:
        losses: What each group cost, in nats; below 0 if it gave something back.

    Returns:
        The verdict and its confidence: how far the largest share of a nameable cause is from one half, between 0 and
        .5. At 0 a trifle more or less would have made another verdict. It is 0 if no group cost anything.

    Examples:
        >>> verdict_of({Group.WRITTEN: 0.5, Group.BELOW: 3.0, Group.ABOVE: -1.0, Group.OUTSIDE: 0.5})
        (<Verdict.KEY_DRIFT: 'key drift'>, 0.25)
        >>> verdict_of({Group.WRITTEN: 1.0, Group.BELOW: 1.5, Group.ABOVE: 1.5})
        (<Verdict.MIXED: 'mixed'>, 0.125)
    """
    costs = {group: max(loss, 0.0) for group, loss in losses.items()}
    whole = sum(costs.values())
    if not whole > 0:
        return Verdict.MIXED, 0.0
    largest = max(CAUSES, key=lambda group: costs.get(group, 0.0))
    share = costs.get(largest, 0.0) / whole
    return (CAUSES[largest] if share > 0.5 else Verdict.MIXED), abs(share - 0.5)
