"""The page of several runs."""

from __future__ import annotations

import re

from lost_edits import attribution
from run_samples import ended, outcomes, write

from edit_lit.attribution.file import write_attribution
from edit_lit.pages.comparison_page import write_comparison_page
from edit_lit.reports.causes_comparison import compared_causes
from edit_lit.reports.run import Run
from edit_lit.reports.run_record import State


def runs(tmp_path):
    kept = {"first": [1, 1, 0, 0, 0], "second": [1, 1, 1, 0, 0], "third": [1, 0, 0, 0, 0]}
    return [
        Run.read(
            write(
                tmp_path / name / "version_0",
                {-1: [0] * 5, 0: [1, 1, 1, 1, 0], 20: outcomes(right)},
                segment=ended(State.FINISHED, 20, 20),
            )
        )
        for name, right in kept.items()
    ]


def test_the_page_has_runs_pairs_and_the_causes_that_were_looked_for(tmp_path):
    found = runs(tmp_path)
    for run in found[:2]:
        write_attribution(run.folder, attribution(20))
    content = write_comparison_page(found, tmp_path / "report", left_out=["runs/broken: damaged"]).read_text()
    for part in ("left out: runs/broken: damaged", "The same facts", "Why edits were lost", "not looked for in third"):
        assert part in content
    assert all(address.startswith("data:") for address in re.findall(r'(?:src|href)="([^"]*)', content))
    causes = compared_causes(found)
    assert [row[:3] for row in causes.rows] == [("first", "20", "2"), ("second", "20", "2")]
    assert causes.rows[0][3:7] == ("1", "0", "0", "1")
    assert causes.rows[0][7].startswith("written 1.00, below 1.00")
    assert len(causes.notes) == 1


def test_without_causes_there_is_no_such_section(tmp_path):
    content = write_comparison_page(runs(tmp_path), tmp_path / "report").read_text()
    assert "Why edits were lost" not in content
    assert "explain" not in content


def test_causes_of_another_step_are_marked(tmp_path):
    found = runs(tmp_path)
    write_attribution(found[0].folder, attribution(10))
    (found[1].folder / "attribution.parquet").write_bytes(b"damaged")
    causes = compared_causes(found)
    assert [row[1] for row in causes.rows] == ["10 of 20"]
    assert "is no whole file of causes" in causes.notes[0]
