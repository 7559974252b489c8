"""The result as tables: how many edits are gone or hidden, what each test found, and each lost edit."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edit_lit.recoverability.result import Evidence, Finding, Recoverability, Verdict
from edit_lit.reports.table import Row, markdown_table

VERDICT_HEADER: Row = ("edits", "number", "model and control exchanged", "which means")
EVIDENCE_HEADER: Row = ("test", "lost edits found", "in the control", "beyond the control", "exchanged")
EDIT_HEADER: Row = ("question", "the edit said", "verdict", *map(str, Evidence))

_MEANING = {
    Verdict.ALIVE: "still right",
    Verdict.CONCEALED: "lost, but a test finds them that finds them less in the control",
    Verdict.ERODED: "lost but for a trace that the control has not",
    Verdict.GONE: "nothing is left that the control has not",
}
_LABELS = {
    Evidence.TRACE: "likelier than before the edit",
    Evidence.TOP_K: "among the top {k}",
    Evidence.WORDING: "another wording finds it",
    Evidence.LENS: "among the top {k} of a middle layer",
    Evidence.PUT_BACK: "right again if put back in part",
    Evidence.RELEARNING: "right again after steps on others",
}


def verdict_rows(result: Recoverability) -> list[Row]:
    """Rows in the columns of ``VERDICT_HEADER``."""
    return [
        (str(verdict), str(ours), "" if verdict is Verdict.ALIVE else str(theirs), _MEANING[verdict])
        for verdict, (ours, theirs) in result.counts().items()
    ]


def evidence_rows(result: Recoverability) -> list[Row]:
    """Rows in the columns of ``EVIDENCE_HEADER``, of the tests that were possible."""
    rows: list[Row] = []
    for test in Evidence:
        findings = result.findings(test)
        if findings:
            signs = ("found", "control_found", "beyond", "control_beyond")
            counts = [f"{sum(getattr(finding, sign) for finding in findings)} of {len(findings)}" for sign in signs]
            rows.append((_LABELS[test].format(k=result.most_rank), *counts))
    return rows


def edit_rows(result: Recoverability) -> list[Row]:
    """Rows in the columns of ``EDIT_HEADER``: each test's number in the model, and behind a stroke in the control."""
    return [
        (edit.question, edit.target, str(edit.verdict), *(_cell(edit.finding(test)) for test in Evidence))
        for edit in result.edits
    ]


def notes(result: Recoverability) -> list[str]:
    """What must be known to read the tables."""
    missing = [str(test) for test in Evidence if not result.findings(test)]
    lines = [
        f"Step {result.step}, rule {result.rule}. The control is {result.control}.",
        "“Exchanged” applies the same rule with model and control in each other's place: so many come of chance.",
    ]
    return [*lines, *([f"Not possible in this run: {', '.join(missing)}."] if missing else [])]


def markdown(result: Recoverability) -> str:
    """All tables, with a headline."""
    tables: Sequence[tuple[Row, list[Row]]] = [
        (VERDICT_HEADER, verdict_rows(result)),
        (EVIDENCE_HEADER, evidence_rows(result)),
        (EDIT_HEADER, edit_rows(result)),
    ]
    parts = ["# Are the lost edits gone or hidden?", *notes(result)]
    return "\n\n".join([*parts, *(markdown_table(header, rows) for header, rows in tables)]) + "\n"


def _cell(finding: Finding | None) -> str:
    if finding is None:
        return "–"
    mark = "*" if finding.beyond else ""
    return f"{_number(finding.value)} / {_number(finding.control)}{mark}"


def _number(value: float) -> str:
    if math.isinf(value):
        return "never"
    return f"{value:.0f}" if value == round(value) else f"{value:.2f}"
