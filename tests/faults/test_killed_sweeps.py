"""A sweep whose driver or workers are killed loses no finished trial, and ends in the bits of one left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import psutil
import pytest
import yaml
from killed_run import end_of, write_config

from edit_lit.sweeps.folder import SweepFolder, TrialList
from edit_lit.sweeps.status import Stage, trial_status
from edit_lit.utilities.run_files import newest_run

pytestmark = pytest.mark.slow
KILLS = 6


def write_sweep(folder: Path) -> Path:
    base = write_config(folder)
    axes = [{"model.tuning.r": [2, 4]}, {"model.seed": [0, 1]}]
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({"base": str(base), "axes": axes, "resources": {"cpus": 1}, "retries": 3}))
    return path


def start(sweep: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "edit_lit", "sweep", "--config", str(sweep), "--output", str(sweep.parent / "out")]
    environment = {**os.environ, "XDG_CACHE_HOME": str(sweep.parent / "cache")}
    with (sweep.parent / "output.log").open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)


def finish(sweep: Path) -> None:
    process = start(sweep)
    assert process.wait(900) == 0, (sweep.parent / "output.log").read_text()[-3000:]


def runs(sweep: Path) -> dict[str, Path]:
    """The runs of the trials that are done, by what the trials are."""
    folder = SweepFolder(sweep.parent / "out")
    listed = TrialList.read(folder)
    trials = listed.trials if listed is not None else []
    done = [trial for trial in trials if trial_status(folder.trial(trial.address), False).stage is Stage.FINISHED]
    found = {str(trial): newest_run(folder.trial(trial.address)) for trial in done}
    return {trial: run for trial, run in found.items() if run is not None}


def stamps(run: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    sweep = write_sweep(tmp_path_factory.mktemp("alone"))
    started = time.monotonic()
    finish(sweep)
    return time.monotonic() - started, {trial: end_of(run) for trial, run in runs(sweep).items()}


def processes(driver: psutil.Process, which: str) -> list[psutil.Process]:
    """The driver itself, the workers that Ray has started, or the runs that these have started."""
    if which == "driver":
        return [driver]
    children = driver.children(recursive=True)
    mark = {"worker": "ray::", "run": "edit_lit.cli.child"}[which]
    return [child for child in children if any(mark in word for word in child.cmdline())]


@pytest.mark.parametrize("which", ["driver", "worker", "run"])
def test_a_killed_process_costs_no_finished_trial(which, alone, tmp_path, capsys):
    seconds, expected = alone
    sweep, chance, kills = write_sweep(tmp_path), Random(which), 0
    for _ in range(10 * KILLS):
        process = start(sweep)
        try:
            process.wait(chance.uniform(0.2, 0.9) * seconds)
        except subprocess.TimeoutExpired:
            before = {trial: stamps(run) for trial, run in runs(sweep).items()}
            found = []
            try:
                found = processes(psutil.Process(process.pid), which)
                if found:
                    chance.choice(found).send_signal(signal.SIGKILL)
                    kills += 1
            except psutil.NoSuchProcess:
                pass
            if which != "driver":
                process.wait(900)
            process.wait(60)
            after = {trial: stamps(run) for trial, run in runs(sweep).items()}
            assert before.items() <= after.items()
        if len(runs(sweep)) == len(expected):
            assert {trial: end_of(run) for trial, run in runs(sweep).items()} == expected
            sweep = write_sweep(tmp_path / str(kills) / str(time.monotonic_ns()))
        if kills >= KILLS:
            break
    finish(sweep)
    assert {trial: end_of(run) for trial, run in runs(sweep).items()} == expected
    with capsys.disabled():
        print(f"\n{which}: {kills} kills, all trials equal")
    assert kills >= KILLS
