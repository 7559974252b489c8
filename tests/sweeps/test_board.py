"""The board counts the trials by what their folders say, and estimates the time that is left."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from rich.console import Console

from edit_lit.sweeps.board import Board
from edit_lit.sweeps.folder import PlannedTrial, SweepFolder
from edit_lit.sweeps.status import Stage, Status


def make(tmp_path, **stages):
    """Trials at given stages, as their folders would say it."""
    for name, (stage, state) in stages.items():
        folder = tmp_path / "trials" / name
        Status(stage, 1, 60.0, "host", "it broke [/b]" if stage is Stage.FAILED else None).write(folder)
        if state is None:
            continue
        run = folder / "version_0"
        (run / "checkpoints").mkdir(parents=True)
        (run / "config.yaml").write_text("")
        (run / "metrics.csv").write_text("a,step\n1,3\n2,5\n")
        record = {"started": "now", "state": state, "steps_planned": 20}
        (run / "run.json").write_text(json.dumps({"segments": [record]}))
        if state == "finished":
            (run / "checkpoints" / "finished.json").write_text("{}")
    trials = [PlannedTrial(name, {"seed": name}) for name in (*stages, "new")]
    return Board(SweepFolder(tmp_path), trials, slots=2)


def test_each_trial_is_at_one_stage(tmp_path):
    board = make(
        tmp_path,
        a=(Stage.FINISHED, "finished"),
        b=(Stage.RUNNING, "diverged"),
        c=(Stage.RUNNING, "running"),
        d=(Stage.FAILED, "failed"),
        e=(Stage.FAILED, "finished"),
        f=(Stage.FINISHED, "running"),
    )
    expected = {"a": "finished", "b": "diverged", "c": "running", "d": "failed", "e": "finished", "f": "waiting"}
    assert {name: status.stage for name, status in board.statuses().items()} == {**expected, "new": "waiting"}
    idle = {name: status.stage for name, status in board.statuses(driven=False).items()}
    assert idle == {**expected, "c": "interrupted", "new": "waiting"}


def test_the_line_counts_them_and_tells_the_time_that_is_left(tmp_path):
    board = make(tmp_path, a=(Stage.FINISHED, "finished"), b=(Stage.FINISHED, "diverged"), c=(Stage.RUNNING, "running"))
    statuses = board.statuses()
    # One that has not begun and three quarters of one, 60 s each, two at once.
    assert board.seconds_left(statuses) == 1.75 * 60 / 2
    assert replace(board, slots=None).seconds_left(statuses) == 1.75 * 60
    assert board.line(statuses) == "2 of 4 trials done (1 diverged), 1 running, 1 waiting, left 0:52"
    assert make(tmp_path / "none").line(make(tmp_path / "none").statuses()) == "0 of 1 trials done, 1 waiting"


def test_the_table_shows_what_runs_and_what_failed(tmp_path):
    board = make(tmp_path, a=(Stage.FINISHED, "finished"), c=(Stage.RUNNING, "running"), d=(Stage.FAILED, None))
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(board.table(board.statuses()))
    shown = console.export_text()
    assert "seed a" not in shown
    assert [row.split()[1:3] for row in shown.splitlines() if "seed" in row] == [["seed", "c"], ["seed", "d"]]
    assert "5/20" in shown
    assert "it broke [/b]" in shown
