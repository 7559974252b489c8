"""What is known of each fact before the fine-tuning, as numbers that may say which facts are lost."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edit_lit.drift.rows import FOLDER, read_fact_rows
from edit_lit.measures.fates import Fates
from edit_lit.measures.outcomes import Kind, Outcomes, Pool
from edit_lit.measures.request_means import request_means
from edit_lit.measures.scores import Rule, success
from edit_lit.reports.run import Run
from edit_lit.utilities.errors import ConfigError

log = logging.getLogger(__name__)

Values = NDArray[np.float64]

_NORMS = {"write_norm": "size of the edit's write at the key", "key_norm": "norm of the key"}
_MEANS = {
    "nearest_training_key": "cosine of the key to the nearest training key",
    "texts_naming_subject": "training texts that name the subject, share",
    "texts_naming_new_object": "training texts that name the new object, share",
    "texts_naming_old_object": "training texts that name the old object, share",
}
"""Covariates by their measure in ``drift.parquet``: of norms the root of the sum of squares over the edited layers, of
the others the mean over them."""


def fact_covariates(run: Run, fates: Fates, rule: Rule, names: Sequence[str]) -> Mapping[str, Values]:
    """Covariates of the edited facts that count, by name, each [F]; NaN where a fact has none.

    Args:
        run: The run.
        fates: The fates of its edited facts, whose order the values have.
        rule: The success rule.
        names: The names by content of all edited facts, in the order of the requests.
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
    return found | _from_drift(run, [names[fact] for fact in facts])


def _from_drift(run: Run, facts: Sequence[str]) -> dict[str, Values]:
    """What the run's drift says of facts that are named by content; none without it, or if it cannot be read."""
    values: defaultdict[str, defaultdict[str | None, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    try:
        for row in read_fact_rows(run.folder / FOLDER):
            values[row.measure][row.fact][row.layer] = row.value
    except ConfigError as error:
        log.warning("%s", error)
    return {
        name: np.array([over_layers(list(values[measure][fact].values())) for fact in facts])
        for names, over_layers in ((_NORMS, _norm), (_MEANS, _mean))
        for measure, name in names.items()
        if measure in values
    }


def _norm(values: Sequence[float]) -> float:
    return math.hypot(*values) if values else math.nan


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


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
