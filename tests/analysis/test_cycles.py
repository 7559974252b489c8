"""A sweep of series: its cycles are the runs that arms are made of."""

from __future__ import annotations

import csv
import json
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_sweeps import Answers, requests, write_run

from edit_lit.analysis.collect import collect
from edit_lit.analysis.cycles import with_cycles
from edit_lit.analysis.differences import differences
from edit_lit.analysis.quantities import GAP, INTRINSIC, RETENTION, RMST, STOPPED, TRAINED
from edit_lit.analysis.study import Study
from edit_lit.analysis.sweep import Sweep
from edit_lit.cli import main
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import Rule, wilson_interval
from edit_lit.reports.run import Run
from edit_lit.reports.run_record import RunRecord, State
from edit_lit.reports.series_record import Cycle, SeriesRecord
from edit_lit.sweeps.folder import TRIALS
from edit_lit.utilities.run_files import CONFIG

RATES = {"all": 0.6, "frozen": 0.1, "control": 0.05}
COUNT = 14


def steps_of(number: int) -> tuple[int, ...]:
    return (0, 10, 20) if number % 2 else (0, 10, 20, 40)


def note(folder: Path, **changes: object) -> None:
    record = RunRecord.read(folder)
    assert record is not None
    RunRecord([replace(record.last, **changes)]).write(folder)


def write_series(folder: Path, arm: str, place: int) -> None:
    """A series of single edits of which cycle 11 diverged, 12 took no step, and 13 was never begun."""
    cycles = []
    for number in range(COUNT):
        own = folder / f"cycle_{number:03d}"
        facts = requests(1, number)
        cycles.append(Cycle(number, [number], [f"{facts[0].subject}: east → west"], [facts[0].id or ""], number))
        if number == 13:
            continue
        pool = Pool.UNEDITED if arm == "control" else Pool.EDITED
        steps = (0,) if number == 12 else steps_of(number)
        write_run(own, Answers(RATES[arm]), 100 * place + number, facts, requests(10, 500), pool=pool, steps=steps)
        (own / CONFIG).unlink()
        stop = {"monitor": "downstream/val_loss", "mode": "min", "threshold": 1.2, "reached": number != 4}
        diverged = {"state": State.DIVERGED, "diverged_at": 10} if number == 11 else {}
        note(own, stops=[stop], **diverged)
    SeriesRecord("hash", cycles).write(folder)
    (folder / CONFIG).write_text("name: made up\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three series, and a fourth that was never started."""
    made = tmp_path_factory.mktemp("sweeps") / "single_edits"
    layers = [*RATES, "unstarted"]
    trials = []
    for place, label in enumerate(layers):
        address = f"{place:08x}"
        trials.append({"address": address, "labels": {"layers": label}, "folder": f"trials/{address}", "options": []})
        if label in RATES:
            write_series(made / "trials" / address / "version_0", label, place)
    content = {"name": made.name, "axes": {"layers": layers}, "replicates": [], "trials": trials}
    (made / TRIALS).write_text(json.dumps(content))
    return made


@pytest.fixture(scope="module")
def study(folder):
    sweep = with_cycles(Sweep.read(folder))
    return Study(sweep, collect(sweep), Rule.EXACT)


def arm(label: str) -> tuple[tuple[str, str], ...]:
    return (("layers", label),)


def kept(folder: Path, place: int, pool: Pool = Pool.EDITED) -> list[float]:
    """Retention in each cycle that counts, by the run's own arithmetic."""
    runs = [Run.read(folder / "trials" / f"{place:08x}" / "version_0" / f"cycle_{n:03d}") for n in range(11)]
    return [list(run.transitions(pool, Rule.EXACT).values())[-1].retention for run in runs]


def test_each_cycle_is_a_run_of_its_arm(folder, study):
    edited, intrinsic = kept(folder, 0), kept(folder, 0, Pool.INTRINSIC)
    assert [study.sweep.arm_name(one) for one in study.arms] == ["all", "frozen", "control"]
    found = study.estimate(arm("all"), RETENTION)
    assert found.values == tuple(edited)
    assert (found.low, found.high) == wilson_interval(int(sum(edited)), 11)
    assert study.estimate(arm("all"), INTRINSIC).values == pytest.approx(intrinsic)
    gaps = [one - other for one, other in zip(edited, intrinsic, strict=True)]
    assert study.estimate(arm("all"), GAP).values == pytest.approx(gaps)
    assert study.estimate(arm("all"), TRAINED).values == tuple(float(steps_of(n)[-1]) for n in range(11))
    assert study.estimate(arm("all"), STOPPED).mean == pytest.approx(10 / 11)


def test_where_every_edit_is_kept_the_interval_still_has_a_width(study):
    kept_edits = [result for result in study.cells[arm("frozen")].values() if result.sample("retention").mean == 1]
    found = replace(study, results=kept_edits).estimate(arm("frozen"), RETENTION)
    assert found.mean == 1
    assert found.low == wilson_interval(found.runs, found.runs)[0]
    assert found.low < 1


def test_arms_are_paired_by_their_facts(folder, study):
    (found,) = differences(study, arm("all"), [arm("frozen")], [RETENTION])
    expected = [after - before for before, after in zip(kept(folder, 0), kept(folder, 1), strict=True)]
    assert found.estimate.values == tuple(expected)
    assert found.estimate.mean == pytest.approx(statistics.mean(expected))
    draws = np.random.default_rng(1).choice(expected, (4000, len(expected))).mean(axis=1)
    assert (found.estimate.low, found.estimate.high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.08)


def test_another_fact_of_the_same_number_makes_no_pair(folder, tmp_path):
    study_of = folder / "trials" / "00000001" / "version_0"
    record = SeriesRecord.read(study_of)
    other = [replace(cycle, facts=["elsewhere: east → west"]) for cycle in record.cycles]
    SeriesRecord("hash", other).write(study_of)
    try:
        sweep = with_cycles(Sweep.read(folder))
        study = Study(sweep, collect(sweep), Rule.EXACT)
    finally:
        record.write(study_of)
    (found,) = differences(study, arm("all"), [arm("frozen")], [RETENTION])
    assert found.verdict == "no pair"


def test_survival_up_to_a_score_is_not_compared(study):
    assert study.horizon is None
    assert study.estimate(arm("all"), RMST).runs == 0


def test_the_report_says_what_counts_and_draws_arms_without_curves(folder, capsys):
    main(["report", str(folder), "--against", "all"])
    shown, report = capsys.readouterr().out, folder / "report"
    page = (report / "sweep.md").read_text()
    for text in (
        "33 of 43 cycles are finished",
        "3 of 43 cycles: diverged",
        "3 of 43 cycles: stopped at step 0",
        "4 of 43 cycles: not started",
        "3 of 33 never came to the score to stop at",
        "cycles share their intrinsic facts",
    ):
        assert text in page
    assert "33 of 43 cycles are finished" in shown
    assert (report / "arms.png").read_bytes()[:4] == b"\x89PNG"
    assert not (report / "curves.png").exists()
    assert "cycles in the means" in (report / "cycles.md").read_text()
    with (folder / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * COUNT + 1
    assert rows[-1]["cycle"] == "none begun"
    left_out = (report / "left_out.md").read_text()
    assert "00000000-cycle_011" in left_out
    assert "layers=unstarted" in left_out
