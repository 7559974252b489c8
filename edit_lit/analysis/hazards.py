"""Which facts are lost first: grouped proportional hazards, and whether they predict a run that they have not seen.

log(−log(1 − hᵢⱼ)) = aⱼ + xᵢβ for fact i in interval j has the β of Cox's model in continuous time, and is exact where
only the interval of a loss is known: Prentice and Gloeckler, Biometrics 34 (1978).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edit_lit.analysis.designs import Design
from edit_lit.analysis.person_probes import PersonProbes, Values

LEAST_RUNS = 5
"""Runs below which nothing is fitted: they are what errors are clustered by."""

MOST_PARTS = 10
"""Parts into which runs are divided for the out-of-sample score."""

_EVENTS_A_COVARIATE = 5


@dataclass(frozen=True)
class HazardModel:
    """A fitted model.

    Args:
        ratio: Hazard ratio of one standard deviation more, by covariate.
        low: Lower end of its 95 % interval, with errors clustered by run and by fact.
        high: Its upper end.
        p: The p-value of each.
        facts: Facts behind it, counted in each run anew.
        losses: How many of them were lost.
        gains: For each run that was left out, by how much the covariates raise the mean log-likelihood of a fact in it.
    """

    ratio: Mapping[str, float]
    low: Mapping[str, float]
    high: Mapping[str, float]
    p: Mapping[str, float]
    facts: int
    losses: int
    gains: tuple[float, ...]


def installed() -> bool:
    """Whether there is a library that fits it."""
    return find_spec("statsmodels") is not None


def flaw(table: PersonProbes) -> str:
    """Why nothing can be fitted to a table that is informative; nothing if it can."""
    if not table.names:
        return "no covariate differs between facts of an arm"
    runs, losses = len(np.unique(table.run_R)), int(table.died_R.sum())
    if runs < LEAST_RUNS:
        return f"{runs} runs with losses, and it takes {LEAST_RUNS}"
    least = _EVENTS_A_COVARIATE * len(table.names)
    return f"{losses} losses, and {len(table.names)} covariates take {least}" if losses < least else ""


def fit(table: PersonProbes) -> HazardModel | None:
    """Fit the model to an informative table; nothing if it does not converge.

    Args:
        table: Facts at risk, as :func:`~edit_lit.analysis.designs.well_posed` gives them.
    """
    design, _ = Design.of(table).columns(table)
    groups = np.stack([table.run_R, table.fact_R], axis=1)
    found = _fit(table.died_R, design, groups)
    if found is None:
        return None
    count = len(table.names)
    parts = (found.params[:count], *np.asarray(found.conf_int())[:count].T)
    ratio, low, high = (dict(zip(table.names, np.exp(part).tolist(), strict=True)) for part in parts)
    return HazardModel(
        ratio,
        low,
        high,
        p=dict(zip(table.names, np.asarray(found.pvalues)[:count].tolist(), strict=True)),
        facts=len(np.unique(groups, axis=0)),
        losses=int(table.died_R.sum()),
        gains=tuple(_gains(table)),
    )


def _gains(table: PersonProbes) -> list[float]:
    """Leave runs out, one at a time or a tenth of them, and score what is fitted to the others on each."""
    runs = np.unique(table.run_R)
    parts = min(MOST_PARTS, len(runs))
    left_out = [runs[part::parts] for part in range(parts)]
    return [gain for some in left_out for gain in _gains_on(some, table)]


def _gains_on(left_out: NDArray[np.int64], table: PersonProbes) -> Iterator[float]:
    """By how much covariates raise the mean log-likelihood of a fact in each run that the others do not know."""
    train = table.where(~np.isin(table.run_R, left_out)).informative()
    if not len(train):
        return
    design = Design.of(train)
    with_and_without = [_fit(train.died_R, columns) for columns in design.columns(train)]
    if any(found is None for found in with_and_without):
        return
    for run in left_out:
        test = table.where((table.run_R == run) & design.knows(table))
        if len(test):
            pairs = zip(design.columns(test), with_and_without, strict=True)
            full, plain = (_log_likelihood(test.died_R, columns, found.params) for columns, found in pairs)
            yield (full - plain) / len(np.unique(test.fact_R))


def _log_likelihood(died_R: Values, design: Values, params: Values) -> float:
    cumulative = np.exp(np.clip(design @ params, -30, 5))
    return float(np.where(died_R == 1, np.log(-np.expm1(-cumulative)), -cumulative).sum())


def _fit(died_R: Values, design: Values, groups: NDArray[np.int64] | None = None) -> Any:
    """What statsmodels finds, with errors clustered by groups if there are any; nothing if it does not converge."""
    api = _statsmodels()
    model = api.GLM(died_R, design, family=api.families.Binomial(link=api.families.links.CLogLog()))
    robust = {} if groups is None else {"cov_type": "cluster", "cov_kwds": {"groups": groups}}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore")
        try:
            found = model.fit(**robust)
        except (ValueError, FloatingPointError, np.linalg.LinAlgError):
            return None
    return found if found.converged and np.isfinite(found.params).all() else None


def _statsmodels() -> ModuleType:
    with warnings.catch_warnings():
        # It uses what pandas will drop one day.
        warnings.filterwarnings("ignore")
        import statsmodels.api
    return statsmodels.api
