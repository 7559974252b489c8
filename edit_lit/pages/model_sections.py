"""What a run's page says of the model: how far it drifted, and whether lost edits are still in it."""

from __future__ import annotations

from markupsafe import Markup

from edit_lit.drift.rows import FOLDER as DRIFT
from edit_lit.drift.rows import read_drift
from edit_lit.pages.html import bullets, image, paragraph, section, table
from edit_lit.recoverability.file import FILE as RECOVERABILITY
from edit_lit.recoverability.file import read_recoverability
from edit_lit.recoverability.table import (
    EDIT_HEADER,
    EVIDENCE_HEADER,
    VERDICT_HEADER,
    edit_rows,
    evidence_rows,
    notes,
    verdict_rows,
)
from edit_lit.reports.drift_figure import drift_figure
from edit_lit.reports.figure_files import vector
from edit_lit.reports.run import Run
from edit_lit.utilities.errors import ConfigError

_HIDDEN = "Are the lost edits gone or hidden?"
_DRIFT = "How far the model drifted"


def recoverability_section(run: Run) -> Markup:
    """Whether lost edits are gone or hidden, if that was tested."""
    if not (run.folder / RECOVERABILITY).exists():
        return Markup("")
    try:
        found = read_recoverability(run.folder)
    except ConfigError as error:
        return section(_HIDDEN, paragraph(str(error), "note"))
    return section(
        _HIDDEN,
        bullets(notes(found)),
        table(VERDICT_HEADER, verdict_rows(found)),
        table(EVIDENCE_HEADER, evidence_rows(found)),
        table(EDIT_HEADER, edit_rows(found), "Each test's number / that of the control, * beyond it.", sortable=True),
    )


def drift_section(run: Run) -> Markup:
    """How far hidden states, keys and writes moved since the edit, if that was measured."""
    if not (run.folder / DRIFT).exists():
        return Markup("")
    try:
        rows = read_drift(run.folder / DRIFT)
    except ConfigError as error:
        return section(_DRIFT, paragraph(str(error), "note"))
    says = "Hidden states by layer at the last probe; keys and writes of the edit over the steps."
    return section(_DRIFT, image(vector(drift_figure(rows)), says))
