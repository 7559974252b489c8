"""The table of several rewritings of one run: what brings the edits back, and what does it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edit_lit.measures.outcomes import Kind
from edit_lit.measures.scores import Rule, success, wilson_interval
from edit_lit.recoverability.lost import LostEdits, lost_edits
from edit_lit.reports.table import Row
from edit_lit.surgery.lines import Cell, Line, answer_lines
from edit_lit.surgery.stages import Stage

TITLE = "What brings the edits back?"
CAUSES = "What were the lost edits lost by?"
CAUSES_HEADER: Row = ("first brought back by", "edits", "lost by")


@dataclass(frozen=True)
class Rewriting:
    """One rewriting with what it is judged by.

    Args:
        name: The rewriter's class.
        label: What the table calls it.
        cause: What an edit was lost by that it is the least to bring back; none if that says nothing.
        stage: What the model answers behind it.
        changed: ‖W_x − W_t‖ / ‖W_t‖ of all parameters together that it may have changed.
        changes: The same of each.
        did: What it says of itself.
    """

    name: str
    label: str
    cause: str | None
    stage: Stage
    changed: float
    changes: Mapping[str, float]
    did: str


@dataclass(frozen=True)
class Rewritings:
    """A run with several rewritings, each of the model as fine-tuning left it.

    Args:
        before: The unedited model.
        edited: The model right after the edit; none of a run that edited nothing.
        tuned: The fine-tuned model.
        each: The rewritings, the least first.
        refused: Why others could not act, by their classes.
    """

    before: Stage
    edited: Stage | None
    tuned: Stage
    each: Sequence[Rewriting]
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def stages(self) -> dict[str, Stage]:
        """What was answered when, by the name of a column."""
        first = {"before fine-tuning": self.before} if self.edited is None else {"after the edit": self.edited}
        return {**first, "after fine-tuning": self.tuned, **{one.label: one.stage for one in self.each}}

    def lost(self, rule: Rule) -> LostEdits | None:
        """Which edits fine-tuning took; none of a run that edited nothing.

        Args:
            rule: The success rule.
        """
        if self.edited is None:
            return None
        return lost_edits(self.before.edited, self.edited.edited, self.tuned.edited, rule)

    def first_back(self, rule: Rule) -> dict[int, int | None]:
        """The first rewriting with a cause that brings each lost edit back, by its place; none if no one does.

        Args:
            rule: The success rule.
        """
        lost = self.lost(rule)
        right = {place: _right(one.stage, rule) for place, one in enumerate(self.each) if one.cause is not None}
        return {
            edit: next((place for place, answered in right.items() if edit in answered), None)
            for edit in (lost.lost if lost is not None else ())
        }


def lines(found: Rewritings, rule: Rule) -> list[Line]:
    """All lines of the table.

    Args:
        found: What was measured.
        rule: The success rule.
    """
    shown = answer_lines(list(found.stages.values()), rule)
    empty = [Cell(), Cell()]
    lost = found.lost(rule)
    if lost is not None:
        for label, edits in (("lost edits that are right again", lost.lost), ("others that still are", lost.alive)):
            cells = [_share_of(edits, _right(one.stage, rule)) for one in found.each]
            shown.append(Line(f"{label} ({rule})", [*empty, *cells]))
    sizes = [Cell(one.changed) for one in found.each]
    return [*shown, Line("‖change‖/‖W‖ of what was changed", [*empty, *sizes], percent=False)]


def cause_rows(found: Rewritings, rule: Rule) -> list[Row]:
    """How many lost edits each rewriting is the first to bring back, and what they were lost by then.

    Args:
        found: What was measured.
        rule: The success rule.
    """
    counts = Counter(found.first_back(rule).values())
    rows: list[Row] = [
        (one.label, str(counts[place]), one.cause) for place, one in enumerate(found.each) if one.cause is not None
    ]
    return [*rows, ("none of them", str(counts[None]), "")]


def _right(stage: Stage, rule: Rule) -> set[int]:
    """The facts that are answered."""
    rows = stage.edited.of_kind(Kind.REWRITE)
    return set(rows.request[success(rows, rule) == 1].tolist())


def _share_of(edits: Sequence[int], right: set[int]) -> Cell:
    if not edits:
        return Cell()
    count = len(right.intersection(edits))
    return Cell(count / len(edits), *wilson_interval(count, len(edits)), facts=len(edits))
