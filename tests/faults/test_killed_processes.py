"""Several processes: one is killed or asked to stop, and the run goes on, also on another number of processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from killed_run import end_of, run_of, write_config

pytestmark = pytest.mark.slow

PATIENCE = 300
OPTIONS = {"strategy": "ddp", "val_check_interval": 5, "check_val_every_n_epoch": None}


def config_of(folder: Path, processes: int = 2) -> Path:
    return write_config(folder, batch_size=6, dropout=0.0, devices=processes, max_steps=30, **OPTIONS)


def start(args: list[str], folder: Path) -> subprocess.Popen:
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    with (folder / "output.log").open("a") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "edit_lit", *args], env=environment, stdout=output, stderr=subprocess.STDOUT
        )


def finish(args: list[str], folder: Path) -> None:
    assert start(args, folder).wait(PATIENCE) == 0, (folder / "output.log").read_text()[-3000:]


def await_step(config: Path) -> None:
    """Wait until the run has been kept once."""
    until = time.monotonic() + PATIENCE
    while not (run_of(config) / "checkpoints" / "last.ckpt").exists():
        assert time.monotonic() < until, (config.parent / "output.log").read_text()[-3000:]
        time.sleep(0.02)


def child_of(process: subprocess.Popen) -> int:
    """The second process of a run."""
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folders = {processes: tmp_path_factory.mktemp(f"alone{processes}") for processes in (1, 2, 3)}
    for processes, folder in folders.items():
        finish(["fit", "--config", str(config_of(folder, processes))], folder)
    return {processes: end_of(run_of(folder / "config.yaml")) for processes, folder in folders.items()}


@pytest.mark.parametrize("victim", ["first", "second"])
def test_a_killed_process_ends_the_run_which_can_be_resumed(victim, alone, tmp_path):
    config = config_of(tmp_path)
    process = start(["fit", "--config", str(config)], tmp_path)
    await_step(config)
    other = child_of(process)
    os.kill(other if victim == "second" else process.pid, signal.SIGKILL)
    assert process.wait(PATIENCE) != 0
    until = time.monotonic() + PATIENCE
    while Path(f"/proc/{other}").exists():
        assert time.monotonic() < until, "the other process hangs"
        time.sleep(0.1)
    finish(["fit", "--resume", str(run_of(config))], tmp_path)
    assert end_of(run_of(config)) == alone[2]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_one_process_that_is_asked_to_stop_stops_all_behind_the_same_step(signum, alone, tmp_path):
    config = config_of(tmp_path)
    process = start(["fit", "--config", str(config)], tmp_path)
    await_step(config)
    os.kill(child_of(process), signum)
    assert process.wait(PATIENCE) == 128 + signum
    assert "resume with: python -m edit_lit fit --resume" in (tmp_path / "output.log").read_text()
    finish(["fit", "--resume", str(run_of(config))], tmp_path)
    assert end_of(run_of(config)) == alone[2]


@pytest.mark.parametrize("processes", [1, 3])
def test_a_run_goes_on_on_another_number_of_processes(processes, alone, tmp_path):
    config = config_of(tmp_path)
    process = start(["fit", "--config", str(config)], tmp_path)
    await_step(config)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    finish(["fit", "--resume", str(run_of(config)), "--trainer.devices", str(processes)], tmp_path)
    end = end_of(run_of(config))
    for name, bits in alone[processes]["weights"].items():
        expected, found = (
            torch.frombuffer(bytearray(given), dtype=torch.float64) for given in (bits, end["weights"][name])
        )
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
    assert end["records"].keys() == alone[processes]["records"].keys()
    tag = "downstream/val_loss"
    expected, found = (dict(scalars[tag]) for scalars in (alone[processes]["scalars"], end["scalars"]))
    assert found == pytest.approx(expected, rel=1e-3)
