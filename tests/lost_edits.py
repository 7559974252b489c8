"""Causes of lost edits that a test makes up."""

from __future__ import annotations

from edit_lit.attribution.groups import GROUPS
from edit_lit.attribution.result import ActivationPart, Attribution, GroupPart, LostEdit
from edit_lit.attribution.verdict import Verdict
from edit_lit.measures.scores import Rule


def lost_edit(subject: str, verdict: Verdict, margin: float = -1.0, saves: bool = True) -> LostEdit:
    """A lost edit with made-up numbers: each group counts for ``margin``, and its return saves the edit or not."""
    part = GroupPart(margin, 0.5, 1.0, saves, -1.0, False)
    view = ActivationPart(0.1, 0.2, 0.3, False, False, False, True, verdict, 0.1)
    groups = dict.fromkeys(GROUPS, part)
    return LostEdit(
        f"fact {subject}", "1", subject, f"{subject} lies in the", "west", "east", "reverted", 2.0, -2.0, 0.1, 2.1,
        groups, [GROUPS[0]], "margin", verdict, 0.2, view, [],
    )  # fmt: skip


def attribution(step: int) -> Attribution:
    """Two lost edits of five."""
    edits = [lost_edit("city 2", Verdict.OVERWRITTEN), lost_edit("city 3", Verdict.MIXED)]
    return Attribution(step, Rule.EXACT, 4, 1, GROUPS, 16, 0.5, edits)
