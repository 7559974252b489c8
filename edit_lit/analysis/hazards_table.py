"""The table of which facts are lost first."""

from __future__ import annotations

import math

import numpy as np

from edit_lit.analysis.designs import well_posed
from edit_lit.analysis.differences import LEVEL
from edit_lit.analysis.hazards import HazardModel, fit, flaw, installed
from edit_lit.analysis.person_probes import PersonProbes, person_probes
from edit_lit.analysis.study import Study
from edit_lit.measures.permutation import p_text, sign_flip_p
from edit_lit.reports.table import Row
from edit_lit.reports.table_files import Table

NAME, TITLE = "hazards", "Which edits are lost first?"
HEADER: Row = ("covariate", "one standard deviation", "hazard ratio [95 %]", "p")


def hazards_table(study: Study) -> tuple[Table, str]:
    """Hazard ratios of what is known of facts before the fine-tuning, and in one line why there are none.

    Args:
        study: The sweep's results.
    """
    table = person_probes(study)
    if table is None:
        return Table(NAME, TITLE, HEADER, ()), ""
    if not installed():
        return Table(NAME, TITLE, HEADER, ()), f"{_NONE}: pip install 'edit_lit[stats]' for it"
    table = well_posed(table.informative())
    why = flaw(table)
    if why:
        return Table(NAME, TITLE, HEADER, ()), f"{_NONE}: {why}"
    model = fit(table)
    if model is None:
        return Table(NAME, TITLE, HEADER, ()), f"{_NONE}: it does not converge"
    return _table(table, model), ""


_NONE = "which edits are lost first is not regressed"


def _table(table: PersonProbes, model: HazardModel) -> Table:
    rows, records = [], []
    for name, scale in zip(table.names, table.scales.tolist(), strict=True):
        ratio, low, high, p = (of[name] for of in (model.ratio, model.low, model.high, model.p))
        rows.append((name, f"{scale:.3g}", f"{ratio:.2f} [{low:.2f}, {high:.2f}]", p_text(p)))
        records.append({"covariate": name, "sd": scale, "hazard_ratio": ratio, "low": low, "high": high, "p": p})
    notes = [
        "grouped proportional hazards of the first loss (complementary log-log, an intercept for each interval and "
        "each arm); with a hazard ratio above 1, facts that have more of it are lost sooner",
        f"{model.losses} losses among {model.facts} facts of {len(np.unique(table.run_R))} runs; errors are clustered "
        "by run and by fact, and too small with few runs; p is not adjusted for the number of covariates",
        *([f"left out: {'; '.join(table.left_out)}"] if table.left_out else []),
        _score(model),
    ]
    return Table(NAME, TITLE, HEADER, rows, records, notes)


def _score(model: HazardModel) -> str:
    """Whether the covariates predict runs that the model has not seen."""
    if not model.gains:
        return "no run could be left out, so that nothing is known of how well it predicts"
    mean, better = math.fsum(model.gains) / len(model.gains), sum(gain > 0 for gain in model.gains)
    p = sign_flip_p(model.gains)
    verdict = "they predict" if mean > 0 and p <= LEVEL else "they are not shown to predict"
    return (
        f"out of sample, against the intercepts alone: {mean:+.4f} nats of log-likelihood a fact, higher in {better} "
        f"of {len(model.gains)} runs that were left out (sign-flip p {p_text(p)}): {verdict} which edits are lost first"
    )
