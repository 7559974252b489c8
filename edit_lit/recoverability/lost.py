"""Which edits were lost: those that the edit made right and that fail at the last probe, or once they were erased."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from edit_lit.measures.outcomes import Kind, Outcomes
from edit_lit.measures.scores import Rule, applies, success


@dataclass(frozen=True)
class LostEdits:
    """The edits that count for retention, by their positions among the requests.

    Args:
        lost: Those that fail at the last probe.
        alive: Those that are still right.
    """

    lost: tuple[int, ...]
    alive: tuple[int, ...]


def lost_edits(before: Outcomes | None, baseline: Outcomes, now: Outcomes, rule: Rule) -> LostEdits:
    """Tell the lost edits from those that are alive, as :meth:`~edit_lit.reports.run.Run.transitions` counts them.

    Args:
        before: Outcomes before the edit; what was right then is left out. Without it nothing is.
        baseline: Outcomes of the same questions right after the edit.
        now: Outcomes at the last probe.
        rule: The success rule.
    """
    stages = [rows.of_kind(Kind.REWRITE) for rows in (baseline, now, before) if rows is not None]
    asked = torch.stack([applies(rows, rule) for rows in stages]).all(dim=0)
    right = torch.stack([success(rows, rule) for rows in stages]) == 1
    counts = asked & right[0] & (~right[2] if before is not None else True)
    who = stages[0].request
    return LostEdits(tuple(who[counts & ~right[1]].tolist()), tuple(who[counts & right[1]].tolist()))


def lost_since(edits: LostEdits, now: Outcomes, rule: Rule) -> LostEdits:
    """Tell apart which of the edits that were alive are lost now; those that had been lost before count no more.

    Args:
        edits: What was lost and alive before.
        now: Outcomes of the same facts now.
        rule: The success rule.
    """
    rows = now.of_kind(Kind.REWRITE)
    right = set(rows.request[success(rows, rule) == 1].tolist())
    alive = tuple(place for place in edits.alive if place in right)
    return LostEdits(tuple(place for place in edits.alive if place not in right), alive)
