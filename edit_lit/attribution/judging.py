"""From the answers of all hybrids to what is said of each lost edit.

Shape legend: N groups in which something trained; S = 2ᴺ hybrids; F lost edits; the axis of size 2 holds margin and
NLL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from torch import Tensor

from edit_lit.attribution.activation_view import LayerChange, Patched, activation_losses
from edit_lit.attribution.groups import GROUPS, Group
from edit_lit.attribution.hybrids import holds, measured
from edit_lit.attribution.result import ActivationPart, GroupPart, LostEdit
from edit_lit.attribution.shapley import shapley_values, smallest_sets
from edit_lit.attribution.verdict import verdict_of
from edit_lit.facts.request import EditRequest, fact_hash
from edit_lit.measures.outcomes import Outcomes
from edit_lit.measures.scores import Rule

MARGIN, NLL = 0, 1
JudgedBy = Literal["margin", "nll"]


@dataclass(frozen=True)
class Lattice:
    """What the hybrids of all combinations of groups answer.

    Args:
        groups: The groups in which something trained, N.
        values_S2F: Margin and NLL of each hybrid.
        holds_SF: Whether each edit holds in each hybrid.
    """

    groups: Sequence[Group]
    values_S2F: Tensor
    holds_SF: Tensor

    @cached_property
    def shares_N2F(self) -> Tensor:
        """The exact Shapley value of each group."""
        return shapley_values(self.values_S2F)

    def part(self, group: Group, edit: int) -> GroupPart:
        """What a group has to do with an edit; nothing, exactly, if nothing trained in it."""
        last = len(self.values_S2F) - 1
        player = self.groups.index(group) if group in self.groups else None
        bit = 0 if player is None else 1 << player
        margin, nll = (0.0, 0.0) if player is None else self.shares_N2F[player, :, edit].tolist()
        return GroupPart(
            margin=margin,
            nll=nll,
            put_back_margin=float(self.values_S2F[last ^ bit, MARGIN, edit]),
            put_back_saves=bool(self.holds_SF[last ^ bit, edit]),
            swap_margin=float(self.values_S2F[bit, MARGIN, edit]),
            swap_loses=not self.holds_SF[bit, edit],
        )

    def smallest(self, edit: int, by: JudgedBy) -> list[Group]:
        """The smallest set of groups whose return saves an edit; of several, that with the best value."""
        last = len(self.values_S2F) - 1
        worth_S = self.values_S2F[:, MARGIN, edit] if by == "margin" else -self.values_S2F[:, NLL, edit]

        def without(back: frozenset[int]) -> int:
            return last - sum(1 << player for player in back)

        found = smallest_sets(len(self.groups), lambda back: bool(self.holds_SF[without(back), edit]))
        best = max(found, key=lambda back: float(worth_S[without(back)]))
        return [self.groups[player] for player in sorted(best)]

    def judged_by(self, edit: int, reverted: bool) -> JudgedBy:
        """The value that shows the loss: what a displaced edit lost to is not in its margin."""
        margin, nll = (self.values_S2F[-1, :, edit] - self.values_S2F[0, :, edit]).tolist()
        if reverted:
            return "margin" if margin < 0 or not nll > 0 else "nll"
        return "nll" if nll > 0 or not margin < 0 else "margin"


def judged(
    requests: Sequence[EditRequest],
    lattice: Lattice,
    now: Outcomes,
    patched: Patched,
    changes: Sequence[Sequence[LayerChange]],
    rule: Rule,
    which: Tensor,
) -> list[LostEdit]:
    """What is said of each lost edit.

    Args:
        requests: The lost edits, F.
        lattice: What the hybrids answer.
        now: What the fine-tuned model answers.
        patched: What it answers with old activations.
        changes: What became of the sums at the lookup token.
        rule: The success rule.
        which: Which edits to speak of, [F].
    """
    ends = lattice.values_S2F
    views = _ActivationView(patched, rule)
    edits = []
    for edit in which.nonzero()[:, 0].tolist():
        request, reverted = requests[edit], bool(now.exact[edit, 1] == 1)
        by = lattice.judged_by(edit, reverted)
        parts = {group: lattice.part(group, edit) for group in GROUPS}
        verdict, confidence = verdict_of({g: -p.margin if by == "margin" else p.nll for g, p in parts.items()})
        lost = LostEdit(
            fact=fact_hash(request),
            id=request.id,
            subject=request.subject,
            question=request.question,
            target_new=request.target_new,
            target_true=request.target_true,
            became="reverted" if reverted else "displaced",
            margin_edited=float(ends[0, MARGIN, edit]),
            margin_tuned=float(ends[-1, MARGIN, edit]),
            nll_edited=float(ends[0, NLL, edit]),
            nll_tuned=float(ends[-1, NLL, edit]),
            groups=parts,
            smallest=lattice.smallest(edit, by),
            judged_by=by,
            verdict=verdict,
            confidence=confidence,
            activations=views.of(edit, by),
            layers=changes[edit],
        )
        edits.append(lost)
    return edits


class _ActivationView:
    """What the patches say of each edit."""

    def __init__(self, patched: Patched, rule: Rule) -> None:
        ends = {"tuned": patched.tuned, "edited": patched.edited}
        self._values = {name: measured(outcomes) for name, outcomes in {**ends, **patched.everywhere}.items()}
        self._saves = {name: holds(outcomes, rule) for name, outcomes in patched.at_lookup.items()}
        self._everywhere = holds(patched.everywhere["hidden"], rule)

    def of(self, edit: int, by: JudgedBy) -> ActivationPart:
        """The loss of one edit by activations, in nats of the value that it is judged by."""
        row, sign = (MARGIN, 1) if by == "margin" else (NLL, -1)
        losses = activation_losses({name: sign * float(of[row, edit]) for name, of in self._values.items()})
        verdict, confidence = verdict_of(losses)
        return ActivationPart(
            written=losses[Group.WRITTEN],
            below=losses[Group.BELOW],
            above=losses[Group.ABOVE],
            key_saves=bool(self._saves["key"][edit]),
            value_saves=bool(self._saves["value"][edit]),
            hidden_saves=bool(self._saves["hidden"][edit]),
            everywhere_saves=bool(self._everywhere[edit]),
            verdict=verdict,
            confidence=confidence,
        )
