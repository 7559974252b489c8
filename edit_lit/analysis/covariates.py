"""What is known of each fact before the fine-tuning, as numbers that may say which facts are lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edit_lit.measures.fates import Fates
from edit_lit.measures.outcomes import Kind, Outcomes, Pool
from edit_lit.measures.request_means import request_means
from edit_lit.measures.scores import Rule, success
from edit_lit.reports.run import Run

Values = NDArray[np.float64]


def fact_covariates(run: Run, fates: Fates, rule: Rule) -> Mapping[str, Values]:
    """Covariates of the edited facts that count, by name, each [F]; NaN where a fact has none.

    Args:
        run: The run.
        fates: The fates of its edited facts, whose order the values have.
        rule: The success rule.
    """
    baseline, before = next(iter(run.curve(Pool.EDITED).values())), run.before(Pool.EDITED)
    facts = fates.request_F.tolist()
    found = {
        "margin after the edit, nats": fates.margin_TF[0],
        "NLL of the new object after the edit, nats": _nll(baseline, facts),
        "paraphrases right after the edit": _paraphrases(baseline, facts, rule),
    }
    if before is not None:
        found["NLL of the new object before the edit, nats"] = _nll(before, facts)
    rewrites = {
        question.request: question for question in run.questions.get(Pool.EDITED, ()) if question.kind is Kind.REWRITE
    }
    if rewrites:
        found["tokens of the subject"] = np.array([float(rewrites[fact].subject_tokens) for fact in facts])
        found["tokens of the new object"] = np.array([float(rewrites[fact].answer_tokens) for fact in facts])
    return found


def _nll(outcomes: Outcomes, facts: Sequence[int]) -> Values:
    rows = outcomes.of_kind(Kind.REWRITE)
    by_fact = dict(zip(rows.request.tolist(), rows.nll[:, 0].tolist(), strict=True))
    return np.array([by_fact[fact] for fact in facts])


def _paraphrases(outcomes: Outcomes, facts: Sequence[int], rule: Rule) -> Values:
    rows = outcomes.of_kind(Kind.PARAPHRASE)
    if not len(rows):
        return np.full(len(facts), np.nan)
    who, means = request_means(success(rows, rule), rows.request)
    by_fact = dict(zip(who.tolist(), means.tolist(), strict=True))
    return np.array([by_fact.get(fact, np.nan) for fact in facts])
