"""What the two studies score of a run, by their own definitions.

Unlike retention elsewhere, theirs counts every fact that is right after the edit, also one that was right before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edit_lit.analysis.fact_curves import asked_for_new
from edit_lit.measures.outcomes import Outcomes, Pool
from edit_lit.measures.scores import Rule, edit_scores, transition_counts
from edit_lit.reports.run import Run

BEFORE, EDITED, TUNED = "before", "edited", "tuned"
"""Stages of a run: the unedited model, right after the edit, and at the last probe."""

CLASSES = ("stable", "erased", "emergent", "impossible")

PAPER_RULES = (Rule.PROB, Rule.EXACT, Rule.TOKEN)
"""The first study scores CounterFact by ``prob`` and zsRE by ``token``; its flip rate needs a yes or no."""


@dataclass(frozen=True)
class PaperScores:
    """One run by one rule.

    Args:
        stages: Efficacy, generalization, specificity, … by stage, the new object being the right answer in all runs.
        transitions: ``edit_flip_rate`` and the shares of the four classes; empty in a run that edits nothing.
    """

    stages: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    transitions: Mapping[str, float] = field(default_factory=dict)

    @property
    def relative_decay(self) -> float:
        """(ES edited − ES tuned) / ES edited; NaN if either is not known, or nothing was right after the edit."""
        edited = self.stages.get(EDITED, {}).get("efficacy", float("nan"))
        tuned = self.stages.get(TUNED, {}).get("efficacy", float("nan"))
        return (edited - tuned) / edited if edited else float("nan")


def paper_scores(run: Run, rule: Rule) -> PaperScores:
    """The studies' scores of a run, by one rule."""
    pool = run.main_pool
    if pool is Pool.INTRINSIC:
        return PaperScores()
    curve = list(run.curve(pool).values())
    found = {BEFORE: run.before(pool), EDITED: curve[0], TUNED: curve[-1]}
    asked = {stage: _for_new(rows, pool) for stage, rows in found.items() if rows is not None}
    stages = {stage: edit_scores(rows, rule) for stage, rows in asked.items()}
    if pool is not Pool.EDITED:
        return PaperScores(stages)
    counts = transition_counts(curve[0], curve[-1], rule)
    shares = counts.shares()
    return PaperScores(stages, {"edit_flip_rate": counts.edit_flip_rate} | {name: shares[name] for name in CLASSES})


def first_token_retention(run: Run, pool: Pool) -> float:
    """The second study's retention: the first token of the answer is still the likeliest; NaN without such facts."""
    curve = list(run.curve(pool).values())
    return transition_counts(curve[0], curve[-1], Rule.FIRST).retention if curve else float("nan")


def _for_new(outcomes: Outcomes, pool: Pool) -> Outcomes:
    return outcomes if pool is Pool.EDITED else asked_for_new(outcomes)
