"""Pooled cycles against plain arithmetic on answers that the test writes itself."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from run_samples import ended, outcomes, request

from edit_lit.cli import main
from edit_lit.measures.curve import BEFORE_EDIT
from edit_lit.measures.mean_interval import mean_interval
from edit_lit.measures.outcome_files import FOLDER, write_probe
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import Rule
from edit_lit.reports.run import Run, find_runs
from edit_lit.reports.run_record import RunRecord, State
from edit_lit.reports.series import Series
from edit_lit.reports.series_record import Cycle, SeriesRecord
from edit_lit.reports.series_table import report_series, series_notes, series_table
from edit_lit.utilities.errors import ConfigError

STOP = {"monitor": "downstream/val_loss", "mode": "min", "threshold": 3.0}


def write_cycle(folder, number, kept, intrinsic, segment, took=True, steps=100):
    """One edited fact, kept or not, and intrinsic facts at the end of a cycle."""
    before, own = len(intrinsic), folder / f"cycle_{number:03d}"
    for step, edited, others in (
        (BEFORE_EDIT, [0], [1] * before),
        (0, [int(took)], [1] * before),
        *([(steps, [int(took and kept)], intrinsic)] if steps else []),
    ):
        answers = {Pool.EDITED: outcomes(edited), Pool.INTRINSIC: outcomes(others)}
        facts = {Pool.EDITED: [request(number)], Pool.INTRINSIC: [request(100 + n) for n in range(before)]}
        write_probe(own / FOLDER, step, answers, facts)
    RunRecord([segment]).write(own)
    return Cycle(number, [number], [f"city {number}: east → west"], [str(number)], number)


@pytest.fixture
def written(tmp_path):
    """Twelve cycles: eight that count, and four that each do not for another reason."""
    draw, cycles = random.Random(3), []
    counted = []
    for number in range(8):
        kept, intrinsic = number % 3 > 0, [int(draw.random() < 0.8) for _ in range(20)]
        stops = [{**STOP, "reached": number != 5}]
        segment = ended(State.FINISHED, 100 if number < 6 else 300, 500, stops=stops)
        cycles.append(write_cycle(tmp_path, number, kept, intrinsic, segment, took=number != 7, steps=segment.step))
        counted.append((float(kept) if number != 7 else math.nan, statistics.mean(intrinsic)))
    lost = [0] * 20
    cycles.append(write_cycle(tmp_path, 8, False, lost, ended(State.DIVERGED, 60, 500, diverged_at=50)))
    cycles.append(write_cycle(tmp_path, 9, False, lost, ended(State.FINISHED, 0, 500), steps=0))
    cycles.append(write_cycle(tmp_path, 10, False, lost, ended(State.RUNNING, 0, 500)))
    cycles.append(Cycle(11, [11], ["city 11: east → west"], ["11"], 11))
    SeriesRecord("hash", cycles).write(tmp_path)
    RunRecord([ended(State.INTERRUPTED, 10, 12)]).write(tmp_path)
    return tmp_path, counted


def test_the_unit_is_the_cycle(written):
    folder, counted = written
    found = Series.read(folder)
    edited = [kept for kept, _ in counted if not math.isnan(kept)]
    intrinsic = [share for _, share in counted]
    gaps = [kept - share for kept, share in counted if not math.isnan(kept)]
    assert found.retentions(Pool.EDITED, Rule.EXACT) == edited
    assert found.retentions(Pool.INTRINSIC, Rule.EXACT) == pytest.approx(intrinsic)
    assert found.differences(Rule.EXACT) == pytest.approx(gaps)
    rows = dict(series_table([found]))
    assert rows["cycles in the means"] == "8 of 12"
    assert rows["steps, median [least, most]"] == "100 [100, 300]"
    assert rows["came to the score to stop at"] == "7 of 8 (downstream/val_loss < 3.0)"
    assert rows["retention, facts under study (exact)"].startswith(f"{statistics.mean(edited):.1%} [")
    assert rows["retention, facts under study (exact)"].endswith("over 7 cycles")
    assert rows["retention, intrinsic (exact)"].startswith(f"{statistics.mean(intrinsic):.1%} [")
    assert rows["retention, intrinsic (exact)"].endswith("over 8 cycles")
    assert rows["difference, within cycles (exact)"].startswith(f"{100 * statistics.mean(gaps):+.1f} points [")


def test_what_is_in_no_mean_is_named_with_its_reason(written):
    folder, _ = written
    rows, notes = report_series([Series.read(folder)], folder / "report")
    text = (folder / "report" / "cycles.md").read_text()
    for note in (
        "in no mean: not run to their end: cycle 10 (city 10: east → west), cycle 11 (city 11: east → west)",
        "in no mean: diverged: cycle 8 (city 8: east → west)",
        "in no mean: not fine-tuned, for they stopped at step 0: cycle 9 (city 9: east → west)",
        "in no retention: facts that the edit did not make right (exact): cycle 7 (city 7: east → west)",
        "never came to the score to stop at, and are in the means as they ended: cycle 5 (city 5: east → west)",
    ):
        assert note in notes
    assert "cycle 8" in text
    assert rows
    lines = (folder / "report" / "cycles.csv").read_text().splitlines()
    assert len(lines) == 13
    assert lines[9].startswith("8,8,city 8: east → west,8,diverged,False,60,")


def test_the_report_takes_a_series_for_one_result_and_not_for_twelve_runs(written, capsys):
    folder, _ = written
    main(["report", str(folder)])
    shown = capsys.readouterr().out
    assert "What did fine-tuning leave" in shown
    assert "Which edits survived?" not in shown
    assert find_runs([folder], apart=[folder]).runs == []
    with pytest.raises(ConfigError, match="is a series of cycles and no run"):
        Run.read(folder)
    # One cycle by itself is a run like others.
    main(["report", str(folder / "cycle_000")])
    assert "Did the edits survive?" in capsys.readouterr().out


def test_few_cycles_have_no_interval(written):
    folder, _ = written
    record = SeriesRecord.read(folder)
    SeriesRecord(record.edits, record.cycles[:4]).write(folder)
    found = Series.read(folder)
    assert "fewer than 5 cycles: means without intervals" in series_notes(found)
    assert not [row for row in series_table([found]) if "%" in row[1] and "[" in row[1]]


def test_an_interval_over_runs_covers_as_it_says():
    draw, covered = random.Random(0), 0
    for _ in range(60):
        values = [sum(draw.random() < 0.9 for _ in range(20)) / 20 for _ in range(50)]
        _, low, high = mean_interval(values)
        covered += low <= 0.9 <= high
    assert 52 <= covered <= 60
    spread = statistics.stdev(values) / math.sqrt(50)
    assert (high - low) / 2 == pytest.approx(1.96 * spread, rel=0.15)
    assert mean_interval([0.5] * 9)[0] == 0.5
    assert math.isnan(mean_interval([0.5] * 9)[1])
    assert math.isnan(mean_interval([])[0])
