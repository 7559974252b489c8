"""A job runs in a process of its own, says what became of it, and stops with its worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from edit_lit.sweeps.jobs import Job, JobFailedError, JobRefusedError, carry_out, last_line
from edit_lit.sweeps.status import Stage, Status


def job(tmp_path, *command, **options):
    return Job(tmp_path / "job", command, tmp_path, **options)


def test_a_mistake_is_told_apart_from_a_failure(tmp_path):
    with pytest.raises(JobRefusedError, match="'fitt' is no verb. Did you mean fit?"):
        carry_out(job(tmp_path, "fitt"))
    status = Status.read(tmp_path / "job")
    assert (status.stage, status.attempts) == (Stage.FAILED, 1)
    assert status.error == "'fitt' is no verb. Did you mean fit?"
    assert status.seconds > 0


def test_a_job_that_leaves_nothing_behind_has_failed(tmp_path):
    makes = tmp_path / "made"
    for attempt in (1, 2):
        with pytest.raises(JobFailedError, match=r"edit_lit \d"):
            carry_out(job(tmp_path, "--version", makes=makes))
        assert Status.read(tmp_path / "job").attempts == attempt
    assert (tmp_path / "job" / "output.log").read_text().count("--- attempt") == 2
    makes.touch()
    carry_out(job(tmp_path, "--version", makes=makes))
    assert Status.read(tmp_path / "job").attempts == 2


def test_a_run_that_an_earlier_attempt_has_left_is_gone_on_with(tmp_path):
    resuming = job(tmp_path, "fitt", resume=["--version"])
    with pytest.raises(JobRefusedError, match="'fitt' is no verb"):
        carry_out(resuming)
    run = tmp_path / "job" / "version_0"
    run.mkdir()
    (run / "config.yaml").touch()
    with pytest.raises(JobFailedError, match=r"edit_lit \d"):
        carry_out(resuming)


def test_the_last_line_is_that_of_the_last_attempt(tmp_path):
    log = tmp_path / "output.log"
    assert last_line(tmp_path) == ""
    log.write_text("--- attempt 1, now\nerror: no\n\n")
    assert last_line(tmp_path) == "no"
    log.write_text(log.read_text() + "--- attempt 2, now\n")
    assert last_line(tmp_path) == ""


def test_a_child_gets_a_signal_when_its_parent_is_killed(tmp_path):
    told = tmp_path / "told"
    child = (
        "import os, pathlib, signal, sys, time\n"
        "from edit_lit.cli.child import stop_with_parent\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(told)!r}).touch(), os._exit(0)))\n"
        "stop_with_parent(int(sys.argv[1]))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = f"import os, subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}, str(os.getpid())])\n"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    until = time.monotonic() + 20
    while not told.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert told.exists()
