"""Runs that are killed without notice end, resumed, in the bits of a run left alone."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

import pytest
from killed_run import Tally, end_of, finish, kill_and_resume, run_of, write_config

MEMORY = Path("/dev/shm")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run that nobody kills: how long it takes, and what it ends in."""
    folder = tmp_path_factory.mktemp("alone")
    config = write_config(folder / "run")
    seconds = finish(["fit", "--config", str(config)], folder / "run")
    return seconds, end_of(run_of(config))


def killed(folder: Path, alone: tuple, kills: int, seed: int) -> Tally:
    tally, chance = Tally(), Random(seed)
    for number in range(10 * kills):
        if tally.kills < kills:
            kill_and_resume(folder / str(number), alone[0], chance, alone[1], tally)
    return tally


def test_killed_runs_end_in_the_same_bits(alone, tmp_path):
    tally = killed(tmp_path, alone, kills=2, seed=1)
    assert not tally.differences
    assert tally.kills >= 2


@pytest.mark.slow
@pytest.mark.parametrize("place", ["where the system's temporary files are", "in memory"])
def test_a_hundred_kills_have_a_hundred_equal_ends(place, alone, tmp_path, capsys):
    if place == "in memory" and not MEMORY.is_dir():
        pytest.skip("there is no other file system here")
    with tempfile.TemporaryDirectory(dir=MEMORY if place == "in memory" else tmp_path) as folder:
        tally = killed(Path(folder), alone, kills=50, seed=2 if place == "in memory" else 3)
    with capsys.disabled():
        print(f"\n{place}: {tally}")
    assert not tally.differences
    assert tally.kills >= 50
