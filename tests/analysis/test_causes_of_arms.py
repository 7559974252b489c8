"""Why the edits of a sweep's arms were lost, against plain loops over what was written into the runs."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from lost_edits import attribution, lost_edit
from made_sweeps import STEPS, Answers, write_sweep

from edit_lit.analysis.causes import causes_figures, causes_tables
from edit_lit.analysis.collect import collect
from edit_lit.analysis.quantities import CAUSE, LOST, NATS_LOST, PUT_BACK
from edit_lit.analysis.study import Study
from edit_lit.analysis.sweep import Sweep
from edit_lit.analysis.sweep_report import report_sweep
from edit_lit.attribution.file import FILE, write_attribution
from edit_lit.attribution.groups import GROUPS, Group
from edit_lit.attribution.verdict import Verdict
from edit_lit.measures.scores import Rule

SEEDS = 5


@pytest.fixture
def folder(tmp_path):
    return write_sweep(
        tmp_path / "sweep",
        {"layers": ["all", "edited"], "seed": list("01234")},
        ["seed"],
        lambda labels: Answers(0.3),
    )


def runs(folder, first):
    return [folder / "trials" / f"{number:08x}" / "version_0" for number in range(first, first + SEEDS)]


def explain(folder):
    """Causes of the first arm's runs: seed 0 lost nothing, the others as many edits as their number says."""
    written = []
    for seed, run in enumerate(runs(folder, 0)):
        edits = [
            lost_edit(f"{seed}.{n}", Verdict.MIXED if n % 2 else Verdict.KEY_DRIFT, -0.5 * (seed + n), n == 0)
            for n in range(seed)
        ]
        if seed == 4:
            edits[3] = replace(edits[3], target_true=None, margin_tuned=math.nan)
        write_attribution(run, replace(attribution(STEPS[-1]), edits=edits))
        written.append(edits)
    return written


def study(folder, rule=Rule.EXACT):
    sweep = Sweep.read(folder)
    return Study(sweep, collect(sweep, rule), rule)


def test_means_are_over_the_lost_edits_of_a_run_and_then_over_runs(folder):
    written = explain(folder)
    found = study(folder)
    arm = found.arms[0]
    assert found.estimate(arm, LOST).values == (0, 1, 2, 3, 4)
    lost = [edits for edits in written if edits]
    keys = [np.mean([edit.verdict is Verdict.KEY_DRIFT for edit in edits]) for edits in lost]
    assert found.estimate(arm, CAUSE[Verdict.KEY_DRIFT]).values == pytest.approx(keys)
    saved = [np.mean([edit.groups[Group.ABOVE].put_back_saves for edit in edits]) for edits in lost]
    assert found.estimate(arm, PUT_BACK[Group.ABOVE]).values == pytest.approx(saved)
    nats = [
        np.mean([-edit.groups[Group.BELOW].margin for edit in edits if edit.target_true is not None]) for edits in lost
    ]
    assert found.estimate(arm, NATS_LOST[Group.BELOW]).values == pytest.approx(nats)
    assert not found.estimate(found.arms[1], LOST).runs, "nobody looked for the second arm's causes"


def test_tables_say_how_many_runs_are_behind_a_mean(folder):
    explain(folder)
    causes, back = causes_tables(study(folder))
    first, second = causes.rows
    assert first[2] == "2.0 [0.8, 3.2]"
    assert all("(4 of 5 runs)" in cell for cell in first[3:])
    assert set(second[2:]) == {""}
    assert [row[0] for row in back.rows] == [row[0] for row in causes.rows]
    assert "lost none do not count" in causes.notes[-1]


def test_a_figure_has_a_row_for_each_arm_that_lost_something(folder):
    explain(folder)
    (figure,) = causes_figures(study(folder))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["all (2.0 lost)"]
    assert len(axes.patches) == len(GROUPS)


def test_causes_of_other_losses_do_not_count(folder):
    last, earlier = runs(folder, 0)[:2]
    write_attribution(last, replace(attribution(STEPS[-1]), rule=Rule.FIRST))
    write_attribution(earlier, attribution(STEPS[-2]))
    found = study(folder)
    assert not found.present((LOST,))
    assert not any(table.rows for table in causes_tables(found))
    assert not list(causes_figures(found))


def test_the_report_has_them_in_all_its_files(folder):
    explain(folder)
    report = report_sweep(folder)
    names = {path.name for path in report.folder.iterdir()}
    assert {"causes.md", "causes.csv", "causes.tex", "causes.png", "causes.svg", "put_back.csv"} <= names
    assert "Why were edits lost?" in (report.folder / "sweep.html").read_text()
    with (report.folder / "causes.csv").open() as file:
        rows = {row["quantity"]: row for row in csv.DictReader(file) if row["layers"] == "all"}
    assert float(rows["lost_edits"]["mean"]) == 2
    assert rows["nats_lost_below"]["runs"] == "4"
    assert rows["nats_lost_below"]["low"] == "", "four runs have no interval"


def test_a_damaged_file_of_causes_takes_its_run_out_of_all_means(folder):
    explain(folder)
    (runs(folder, 0)[2] / FILE).write_bytes(b"no parquet")
    (result,) = (result for result in study(folder).results if result.state == "unreadable")
    assert "edit_lit explain" in result.why
