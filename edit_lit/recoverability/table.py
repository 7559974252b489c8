"""The result as tables: how many edits are gone or hidden, what each test found, and each lost edit."""

from __future__ import annotations

import math
from pathlib import Path

from edit_lit.recoverability.result import FINE_TUNED, Evidence, Finding, Recoverability, Verdict
from edit_lit.reports.table import Row, markdown_table
from edit_lit.reports.table_files import Table, write_csv_and_latex
from edit_lit.utilities.files import write_atomically

VERDICT_HEADER: Row = ("edits", "number", "model and control exchanged", "which means")
EVIDENCE_HEADER: Row = ("test", "lost edits found", "in the control", "beyond the control", "exchanged")
EDIT_HEADER: Row = ("question", "the edit said", "verdict", *map(str, Evidence))

TITLE = "Are the lost edits gone or hidden?"
_SIGNS = ("found", "control_found", "beyond", "control_beyond")

_ERASED = "Lost are those edits that were alive after the fine-tuning; others do not count."

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
    for test, (of, counts) in _counts(result).items():
        rows.append((_LABELS[test].format(k=result.most_rank), *(f"{count} of {of}" for count in counts)))
    return rows


def evidence_records(result: Recoverability) -> list[dict[str, object]]:
    """What ``evidence_rows`` shows, as numbers."""
    return [
        {"test": test, **dict(zip(_SIGNS, counts, strict=True)), "edits": of}
        for test, (of, counts) in _counts(result).items()
    ]


def _counts(result: Recoverability) -> dict[Evidence, tuple[int, list[int]]]:
    """Of how many lost edits a test was possible, and how many show each of ``_SIGNS``; no test that was not."""
    tests = {test: result.findings(test) for test in Evidence}
    return {
        test: (len(findings), [sum(getattr(finding, sign) for finding in findings) for sign in _SIGNS])
        for test, findings in tests.items()
        if findings
    }


def edit_rows(result: Recoverability) -> list[Row]:
    """Rows in the columns of ``EDIT_HEADER``: each test's number in the model, and behind a stroke in the control."""
    return [
        (edit.question, edit.target, str(edit.verdict), *(_cell(edit.finding(test)) for test in Evidence))
        for edit in result.edits
    ]


def edit_records(result: Recoverability) -> list[dict[str, object]]:
    """What each test found of each lost edit, a record each; what never happened is infinite."""
    return [
        {
            "id": edit.id,
            "question": edit.question,
            "target": edit.target,
            "verdict": edit.verdict,
            "test": finding.evidence,
            "value": finding.value,
            "control": finding.control,
            "beyond": finding.beyond,
        }
        for edit in result.edits
        for finding in edit.findings
    ]


def notes(result: Recoverability) -> list[str]:
    """What must be known to read the tables."""
    missing = [str(test) for test in Evidence if not result.findings(test)]
    tested = [] if result.model == FINE_TUNED else [f"Tested is {result.model}. {_ERASED}"]
    lines = [
        *tested,
        f"Step {result.step}, rule {result.rule}. The control is {result.control}.",
        "“Exchanged” applies the same rule with model and control in each other's place: so many come of chance.",
    ]
    return [*lines, *([f"Not possible in this run: {', '.join(missing)}."] if missing else [])]


def tables(result: Recoverability) -> list[Table]:
    """All tables."""
    found = "What each test found"
    edits = f"Each lost edit: {result.model.removeprefix('the ')} / control, * beyond it"
    return [
        Table("recoverability_verdicts", TITLE, VERDICT_HEADER, verdict_rows(result)),
        Table("recoverability_tests", found, EVIDENCE_HEADER, evidence_rows(result), evidence_records(result)),
        Table("recoverability_edits", edits, EDIT_HEADER, edit_rows(result), edit_records(result)),
    ]


def markdown(result: Recoverability) -> str:
    """All tables, with a headline."""
    parts = [f"# {TITLE}", *notes(result)]
    return "\n\n".join([*parts, *(markdown_table(table.header, table.rows) for table in tables(result))]) + "\n"


def write_tables(folder: Path, result: Recoverability) -> Path:
    """Write ``report/recoverability.md`` into a run's folder, and beside it each table as CSV and LaTeX.

    Args:
        folder: The run's folder.
        result: What was found.

    Returns:
        The Markdown file.
    """
    path = folder / "report" / "recoverability.md"
    write_atomically(path, lambda temporary: temporary.write_text(markdown(result), encoding="utf-8"))
    for table in tables(result):
        write_csv_and_latex(path.parent, table)
    return path


def _cell(finding: Finding | None) -> str:
    if finding is None:
        return "–"
    mark = "*" if finding.beyond else ""
    return f"{_number(finding.value)} / {_number(finding.control)}{mark}"


def _number(value: float) -> str:
    if math.isinf(value):
        return "never"
    return f"{value:.0f}" if value == round(value) else f"{value:.2f}"
