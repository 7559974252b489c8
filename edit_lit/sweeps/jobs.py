"""One job of a sweep: a command in a process of its own, its output in a file."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from edit_lit.sweeps.status import Stage, Status, trial_status
from edit_lit.utilities.locks import exclusive
from edit_lit.utilities.run_files import LOCK, newest_run

OUTPUT = "output.log"
_MISTAKE = 2
_PATIENCE = 600.0
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class JobFailedError(RuntimeError):
    """A job that ended without a result, which may have one when it is tried again."""


class JobRefusedError(RuntimeError):
    """A job whose options are a mistake, so that trying again is in vain."""


@dataclass(frozen=True)
class Job:
    """A command of a sweep.

    Args:
        folder: Where its status and its output are kept; absolute.
        command: The verb and its options.
        resume: The verb and its options, before the folder of the run, if an earlier attempt has left one.
        directory: The directory from which its paths lead.
        threads: How many threads it may use.
        environment: What it finds in its environment besides the worker's.
        makes: A file whose presence says that it is done; a job without is a trial, which says so itself.
    """

    folder: Path
    command: Sequence[str]
    directory: Path
    threads: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    resume: Sequence[str] = ()
    makes: Path | None = None

    def status(self, driven: bool = True) -> Status:
        """How far it has come.

        Args:
            driven: Whether the sweep is being carried out.
        """
        if self.makes is None:
            return trial_status(self.folder, driven)
        status = Status.read(self.folder)
        return replace(status, stage=Stage.FINISHED if self.makes.exists() else Stage.WAITING)


def carry_out(job: Job) -> None:
    """Run a job to its end, and note in its folder what has become of it.

    A process of an earlier attempt that is still keeping itself is waited for.

    Raises:
        JobFailedError: If it ended without a result.
        JobRefusedError: If its options are a mistake.
    """
    if job.status().stage.is_done:
        return
    job.folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    before = Status.read(job.folder)
    running = Status(Stage.RUNNING, before.attempts + 1, before.seconds, socket.gethostname())
    running.write(job.folder)
    _await_earlier(job.folder)
    code = _run(job, running.attempts)
    ended = replace(running, seconds=before.seconds + time.monotonic() - started)
    found = job.status()
    if found.stage.is_done:
        replace(ended, stage=found.stage).write(job.folder)
        return
    error = last_line(job.folder) or f"it ended with status {code} and said nothing"
    replace(ended, stage=Stage.FAILED, error=error).write(job.folder)
    raise (JobRefusedError if code == _MISTAKE else JobFailedError)(error)


def _run(job: Job, attempt: int) -> int:
    threads = {name: str(job.threads) for name in _THREADS}
    run = newest_run(job.folder) if job.resume else None
    words = job.command if run is None else [*job.resume, str(run)]
    command = [sys.executable, "-m", "edit_lit.cli.child", str(os.getpid()), *words]
    with (job.folder / OUTPUT).open("ab") as output:
        output.write(f"--- attempt {attempt}, {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n".encode())
        output.flush()
        return subprocess.run(
            command,
            cwd=job.directory,
            env={**os.environ, **job.environment, **threads},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode


def _await_earlier(folder: Path) -> None:
    run = newest_run(folder)
    if run is None:
        return
    try:
        with exclusive(run / LOCK, _PATIENCE):
            return
    except TimeoutError as error:
        raise JobFailedError(f"an earlier process still holds {run}") from error


def last_line(folder: Path) -> str:
    """The last line that a job printed, without the word error before it; nothing if it printed none."""
    try:
        text = (folder / OUTPUT).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.rpartition("--- attempt ")[2].splitlines()[1:] if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else ""
