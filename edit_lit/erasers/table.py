"""The table of an erasing: are the edits gone, is the old object back, and what did it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edit_lit.measures.scores import Rule
from edit_lit.reports.table import Row
from edit_lit.surgery.lines import Cell, Line, answer_lines
from edit_lit.surgery.stages import Stage, WeightChange

TITLE = "Are the edits gone?"
HEADER: Row = ("", "before the edit", "after fine-tuning", "after erasing")
STAGES = ("before", "tuned", "erased")


@dataclass(frozen=True)
class Erasure:
    """An erasing with what it is judged by.

    Args:
        before: The unedited model.
        tuned: The fine-tuned model.
        erased: The same with the edits erased.
        changes: Of each parameter that the eraser may change, by its name in the plain model.
        did: What the eraser says of itself.
    """

    before: Stage
    tuned: Stage
    erased: Stage
    changes: Mapping[str, WeightChange] = field(default_factory=dict)
    did: str = ""


def lines(erasure: Erasure, rule: Rule) -> list[Line]:
    """All lines of the table; those that nobody asked about are left out.

    Args:
        erasure: What was measured.
        rule: The success rule.
    """
    found = answer_lines([erasure.before, erasure.tuned, erasure.erased], rule)
    for name, change in erasure.changes.items():
        since = [Cell(0.0), Cell(change.tuned), Cell(change.changed)]
        found.append(Line(f"‖W − W_0‖/‖W_0‖, {name}", since, percent=False))
        found.append(Line(f"‖change‖/‖W‖, {name}", [Cell(), Cell(), Cell(change.by_surgery)], percent=False))
    return found
