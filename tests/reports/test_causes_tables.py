"""The causes of lost edits as CSV and LaTeX."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import pytest
from lost_edits import attribution, lost_edit
from run_samples import outcomes, run

from edit_lit.attribution.file import write_attribution
from edit_lit.attribution.groups import GROUPS, Group
from edit_lit.attribution.losses import Losses
from edit_lit.attribution.result import Attribution, GroupPart, LayerShare
from edit_lit.attribution.verdict import Verdict
from edit_lit.measures.scores import Rule
from edit_lit.reports.causes import causes_tables, write_causes
from edit_lit.reports.causes_comparison import compared_causes
from edit_lit.reports.report import report_comparison

NAMES = {f"causes_{name}.{kind}" for name in ("groups", "activations", "edits") for kind in ("csv", "tex")}


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def uneven():
    """Two lost edits that groups cost different amounts; the second is judged by its NLL."""
    first, second = lost_edit("city 2", Verdict.OVERWRITTEN), lost_edit("city 3", Verdict.MIXED)
    costs = {group: 1 / (3 + place) for place, group in enumerate(GROUPS)}
    parts = {group: GroupPart(-cost, 2 * cost, 0, group is Group.WRITTEN, 0, True) for group, cost in costs.items()}
    found = attribution(20)
    return replace(found, edits=[first, replace(second, groups=parts, judged_by="nll")]), costs


def test_each_table_has_its_numbers_unrounded(tmp_path):
    found, costs = uneven()
    folder = write_causes(tmp_path, found).parent
    assert {path.name for path in folder.iterdir()} == {"causes.md", *NAMES}
    groups = {record["group"]: record for record in table(folder / "causes_groups.csv")}
    for group, cost in costs.items():
        assert float(groups[group]["nats"]) == pytest.approx((1 + cost) / 2, abs=1e-12)
        saves = sum(edit.groups[group].put_back_saves for edit in found.edits)
        assert (groups[group]["put_back_saves"], groups[group]["edits"]) == (str(saves), "2")
    first, second = table(folder / "causes_edits.csv")
    assert (first["question"], first["judged_by"], float(first["nats"])) == ("city 2 lies in the", "margin", 4)
    assert {group: float(second[group]) for group in GROUPS} == pytest.approx({g: 2 * c for g, c in costs.items()})
    assert (second["verdict"], second["confidence"]) == ("mixed", "0.2")
    saved = [(record["saves"], record["edits"]) for record in table(folder / "causes_activations.csv")]
    assert saved == [("0", "2"), ("0", "2"), ("0", "2"), ("2", "2")]
    for each in causes_tables(found):
        body = (folder / f"{each.name}.tex").read_text().split("\\midrule")[1].split("\\bottomrule")[0]
        assert body.count(r"\\") == len(each.rows)


def test_tables_of_an_earlier_search_go(tmp_path):
    shares = [LayerShare(Group.WRITTEN, 3, -0.123456, math.nan)]
    folder = write_causes(tmp_path, replace(attribution(20), layer_shares=shares)).parent
    (layer,) = table(folder / "causes_layers.csv")
    assert layer == {"group": "written", "layer": "3", "nats": "0.123456", "standard_error": ""}
    write_causes(tmp_path, attribution(20))
    assert {path.name for path in folder.iterdir()} == {"causes.md", *NAMES}
    write_causes(tmp_path, Attribution.of_nothing(20, Rule.EXACT, Losses((), 3, 0, 0)))
    assert [path.name for path in folder.iterdir()] == ["causes.md"]


def test_runs_are_compared_by_their_causes_if_any_was_explained(tmp_path):
    curve = {0: [1, 1], 20: outcomes([1, 0])}
    runs = [run(tmp_path / name / "version_0", edited=curve) for name in "abc"]
    found, costs = uneven()
    write_attribution(runs[1].folder, found)
    write_attribution(runs[2].folder, attribution(10))
    folder = tmp_path / "report"
    report_comparison(runs, folder)
    first, second = table(folder / "comparison_causes.csv")
    assert (first["run"], first["step"], first["edits"], first["overwritten"], first["mixed"]) == (
        "b",
        "20",
        "2",
        "1",
        "1",
    )
    assert float(first["nats_written"]) == pytest.approx((1 + costs[Group.WRITTEN]) / 2)
    assert (second["run"], second["step"], second["last_step"]) == ("c", "10", "20")
    assert (folder / "comparison_causes.tex").read_text().count("city") == 0
    page = (folder / "comparison.md").read_text()
    assert "## Why edits were lost" in page
    assert "not looked for in a" in page
    for one in runs:
        (one.folder / "attribution.parquet").unlink(missing_ok=True)
    report_comparison(runs, folder)
    assert not list(folder.glob("comparison_causes.*"))
    assert "Why edits were lost" not in (folder / "comparison.md").read_text()
    assert not compared_causes(runs).rows
