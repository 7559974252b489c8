from __future__ import annotations

import pytest
from run_samples import BROKEN, ended, run, write

from edit_lit.measures.curve import BEFORE_EDIT
from edit_lit.measures.outcomes import Pool
from edit_lit.reports.figure import comparison_figure, decay_figure
from edit_lit.reports.notes import comparison_notes, run_notes
from edit_lit.reports.report import report_comparison, report_run
from edit_lit.reports.run import Run
from edit_lit.reports.run_record import RunRecord, State
from edit_lit.reports.table import comparison_table, run_header, run_table


def words(figure):
    """All that a figure says."""
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


@pytest.mark.parametrize(
    ("segment", "header", "note", "mark"),
    [
        (
            ended(State.RUNNING, 0),
            "at step 25 of 400",
            "not finished: it was killed, or still runs; seen last at step 25 of 400",
            "not finished: 25 of 400",
        ),
        (ended(State.RUNNING, 0, None), "at step 25", "seen last at step 25", "not finished: 25"),
        (
            ended(State.INTERRUPTED, 37),
            "at step 25 of 400",
            "stopped at step 37 of 400 (interrupted); last probe at step 25",
            "not finished: 37 of 400",
        ),
        (
            ended(State.FAILED, 25, error="OSError: disk full"),
            "at step 25 of 400",
            "stopped at step 25 of 400 (failed: OSError: disk full)",
            "not finished: 25 of 400",
        ),
        (
            ended(State.DIVERGED, 40, diverged_at=26),
            "at step 25, before it diverged",
            "diverged at step 26; the last numbers are those of step 25",
            "diverged at 26",
        ),
    ],
)
def test_a_run_that_did_not_finish_says_so_wherever_it_is_shown(tmp_path, segment, header, note, mark):
    stopped = run(tmp_path / "stopped" / "version_0", segment=segment)
    whole = run(tmp_path / "whole" / "version_0", segment=ended(State.FINISHED, 25, 25))
    assert run_header(stopped)[-1] == header
    assert note in run_notes(stopped)[0]
    assert note in words(decay_figure(stopped))
    text = (report_run(stopped) / "table.md").read_text()
    assert header in text
    assert note in text
    assert "after fine-tuning" not in text
    rows, notes = report_comparison([stopped, whole], tmp_path)
    assert [row[0] for row in rows] == [f"stopped ({mark})", "whole"]
    assert [line for line in notes if line.startswith("stopped: ")]
    assert mark in words(comparison_figure([stopped, whole]))
    assert mark in (tmp_path / "comparison.md").read_text()


def test_a_run_that_finished_says_nothing_of_it(tmp_path):
    whole = run(tmp_path / "a" / "version_0", segment=ended(State.FINISHED, 25, 25))
    assert run_header(whole)[-1] == "after fine-tuning"
    assert run_notes(whole) == ["seed 0: data order 0, edits 4, intrinsic 101"]
    assert comparison_table([whole])[0][0] == "a"
    early = run(tmp_path / "b", segment=ended(State.FINISHED, 25))
    assert run_notes(early)[0] == "ended by a rule of its own at step 25 of 400"


def test_of_an_older_run_nobody_knows_whether_it_finished(tmp_path):
    old = run(tmp_path / "old" / "version_0")
    assert run_header(old)[-1] == "at step 25"
    assert run_notes(old) == ["whether this run finished is not recorded (no run.json); its last probe is of step 25"]
    assert comparison_table([old])[0][0] == "old"
    assert comparison_notes([old], ["old"]) == [
        "whether they finished, and their seeds, are not recorded (no run.json): old"
    ]
    assert "run.json" not in words(decay_figure(old))


@pytest.mark.parametrize("noted", [None, 2])
def test_a_diverged_run_shows_its_last_numbers_and_never_zero(tmp_path, noted):
    curve = {BEFORE_EDIT: [0, 0], 0: [1, 1], 1: [1, 0], 2: [BROKEN, BROKEN], 3: [BROKEN, 0]}
    segment = ended(State.DIVERGED, 3, diverged_at=noted) if noted else None
    diverged = run(tmp_path, edited=curve, downstream=[(0, 0.5), (1, 0.75), (2, 0.0), (3, 0.0)], segment=segment)
    assert diverged.diverged_at == 2
    assert run_notes(diverged)[0] == "diverged at step 2; the last numbers are those of step 1"
    table = {row[0]: row[1:] for row in run_table(diverged)}
    assert table["efficacy (exact)"] == ("0.0%", "100.0%", "50.0%")
    assert table["retention, edited (exact)"][-1].startswith("50.0%")
    assert table["downstream accuracy"][-1] == "75.0% at step 1"
    assert comparison_table([diverged])[0][-1] == "75.0%"
    assert list(diverged.transitions(Pool.EDITED, "exact")) == [0, 1]
    assert "diverged at step 2" in words(decay_figure(diverged))


def test_a_missing_baseline_is_told(tmp_path):
    late = run(tmp_path, edited={BEFORE_EDIT: [0, 0], 50: [1, 1], 75: [1, 0]}, segment=ended(State.FINISHED, 75, 75))
    assert "no probe from before the training: retention is measured against step 50" in run_notes(late)


def test_a_resumed_run_that_finished_is_finished(tmp_path):
    write(tmp_path, {0: [1, 1], 25: [1, 0]})
    RunRecord([ended(State.INTERRUPTED, 10), ended(State.FINISHED, 25, 25, start_step=10)]).write(tmp_path)
    assert run_header(Run.read(tmp_path))[-1] == "after fine-tuning"


def test_a_downstream_score_of_another_step_than_the_last_probe_has_its_step(tmp_path):
    early = run(tmp_path / "a", downstream=[(0, 0.0)], segment=ended(State.RUNNING, 0))
    same = run(tmp_path / "b", downstream=[(0, 0.0), (25, 0.5)], segment=ended(State.FINISHED, 25, 25))
    assert [row[-1] for row in comparison_table([early, same])] == ["0.0% at step 0", "50.0%"]
