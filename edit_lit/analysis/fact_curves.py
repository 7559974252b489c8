"""The facts of one run through its probes: which of them count, and whether each is right at each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edit_lit.analysis.samples import Sample
from edit_lit.measures.fates import FATES, Fate, Fates
from edit_lit.measures.outcomes import Kind, Outcomes, Pool
from edit_lit.measures.request_means import request_means
from edit_lit.measures.scores import Rule, applies, success
from edit_lit.measures.survival import Loss, restricted_mean
from edit_lit.reports.run import Run


@dataclass(frozen=True)
class FactCurve:
    """Facts that count for retention, and whether each is right at each probe. T probes, F facts.

    Args:
        steps: The probes' steps, the baseline first, [T].
        right_TF: Whether each fact is right at each probe; all are at the first.
        facts: The facts' names by content.
        fates: What became of each of them, if that is known.
    """

    steps: NDArray[np.int64]
    right_TF: NDArray[np.bool_]
    facts: tuple[str, ...]
    fates: Fates | None = None

    @property
    def last_step(self) -> int:
        """The step of the last probe."""
        return int(self.steps[-1])

    def at(self, place: int) -> Sample:
        """Whether each fact is right at a probe, by the probe's place."""
        return Sample(self.right_TF[place].astype(np.float64), self.facts)

    def survival(self, horizon: int, loss: Loss = Loss.FIRST) -> Sample:
        """The share of the time up to a horizon that each fact was alive."""
        return Sample(restricted_mean(self.steps, self.right_TF, horizon, loss), self.facts)

    def first_lost(self, fate: Fate, horizon: int) -> Sample | None:
        """Whether each fact was first lost with a fate up to a horizon, 0 or 1; nothing if fates are not known."""
        if self.fates is None:
            return None
        _, kind_F = self.fates.up_to(horizon).first_losses()
        return Sample((kind_F == FATES.index(fate)).astype(np.float64), self.facts)


def fact_curve(run: Run, pool: Pool, rule: Rule, names: Sequence[str]) -> FactCurve | None:
    """The facts of a pool that count for retention, as :meth:`Run.transitions` counts them.

    Args:
        run: The run.
        pool: The pool.
        rule: The success rule.
        names: The facts' names, in the order of the requests.

    Returns:
        Nothing if the pool was not probed since the edit, or no fact counts.
    """
    fates = run.fates(pool, rule)
    if fates is None or not len(fates):
        return None
    fates = fates.up_to(max(run.curve(pool)))
    facts = tuple(names[fact] for fact in fates.request_F)
    return FactCurve(fates.steps, fates.alive_TF, facts, fates)


def success_by_fact(outcomes: Outcomes, kind: Kind, rule: Rule, names: Sequence[str]) -> Sample | None:
    """Mean success over each fact's prompts of a kind, whose mean is the score; nothing if the rule never applies."""
    rows = outcomes.of_kind(kind)
    rows = rows[applies(rows, rule)]
    if not len(rows):
        return None
    who, means = request_means(success(rows, rule), rows.request)
    return Sample(means.double().numpy(), tuple(names[fact] for fact in who.tolist()))


def asked_for_new(outcomes: Outcomes) -> Outcomes:
    """Outcomes of a pool that asks for what the model knew, as if it had asked for the new object.

    The same prompts were asked with both objects, so that the answer and the alternative change places.
    """
    pairs = {name: tensor.flip(1) for name, tensor in outcomes.tensors().items() if tensor.ndim == 2}
    return Outcomes(outcomes.request, outcomes.kind, outcomes.prompt, **pairs)
