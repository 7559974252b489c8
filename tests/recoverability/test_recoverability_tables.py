"""The tables of the tests of lost edits as CSV and LaTeX."""

from __future__ import annotations

import csv
import math

from edit_lit.measures.scores import Rule
from edit_lit.recoverability import Finding
from edit_lit.recoverability.result import Evidence, LostEdit, Recoverability
from edit_lit.recoverability.table import write_tables


def test_every_finding_is_in_the_csv_and_latex_has_the_cells(tmp_path):
    found = (Finding(Evidence.TRACE, 1 / 3, 0.0, 10), Finding(Evidence.RELEARNING, math.inf, 2.0, 10))
    edits = tuple(LostEdit(f"f{n}", str(n), f"a_{n}", "t", found[: n + 1]) for n in range(2))
    path = write_tables(tmp_path, Recoverability(edits, 3, 20, Rule.EXACT, "another run", 10))
    assert {file.suffix for file in path.parent.iterdir()} == {".md", ".csv", ".tex"}
    records = {}
    for name in ("verdicts", "tests", "edits"):
        with (path.parent / f"recoverability_{name}.csv").open(newline="") as file:
            records[name] = list(csv.DictReader(file))
    rows = [(row["question"], row["test"], float(row["value"]), float(row["control"])) for row in records["edits"]]
    assert rows == [(edit.question, one.evidence, one.value, one.control) for edit in edits for one in edit.findings]
    assert [row["beyond"] for row in records["edits"]] == ["True", "True", "False"]
    assert [(row["test"], row["found"], row["control_beyond"], row["edits"]) for row in records["tests"]] == [
        ("trace", "2", "0", "2"),
        ("relearning", "0", "1", "1"),
    ]
    assert [(row["edits"], row["number"]) for row in records["verdicts"]][:1] == [("alive", "3")]
    assert r"a\_1 & t & eroded" in (path.parent / "recoverability_edits.tex").read_text()
