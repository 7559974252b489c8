"""The folder of a run is its own, whatever the loggers, and however many runs start at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import lightning as L
import pytest
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from edit_lit.run_folder import discard_if_unused, new_run_folder, run_folder
from edit_lit.utilities.errors import ConfigError


class FakeBoard(Logger):
    """A logger that keeps its data elsewhere, as those of hosted services do."""

    def __init__(self, save_dir: str | None, version: str | int) -> None:
        super().__init__()
        self._save_dir, self._version = save_dir, version

    @property
    def name(self) -> str:
        return "project"

    @property
    def version(self) -> str | int:
        return self._version

    @property
    def save_dir(self) -> str | None:
        return self._save_dir

    def log_metrics(self, metrics, step=None) -> None: ...

    def log_hyperparams(self, params, *args, **kwargs) -> None: ...


def test_runs_that_start_at_once_get_a_folder_each(tmp_path):
    barrier = Barrier(16)

    def take(_):
        barrier.wait()
        return new_run_folder(tmp_path, "same")

    with ThreadPoolExecutor(16) as pool:
        taken = set(pool.map(take, range(16)))
    assert taken == {tmp_path / "same" / f"version_{number}" for number in range(16)}


def test_the_next_version_follows_the_highest_one(tmp_path):
    for name in ("version_2", "version_10", "version_x", "notes"):
        (tmp_path / "mine" / name).mkdir(parents=True)
    assert new_run_folder(tmp_path, "mine").name == "version_11"


@pytest.mark.parametrize("name", ["../elsewhere", "a/../../b", "/absolute", "", ".", "\0"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="name is"):
        new_run_folder(tmp_path / "runs", name)
    assert not list(tmp_path.iterdir())


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        new_run_folder(tmp_path / "runs", "mine")


def test_what_loggers_leave_is_removed_and_nothing_else(tmp_path):
    unused, used = new_run_folder(tmp_path, "unused"), new_run_folder(tmp_path, "used")
    (unused / "events.out.tfevents.1.host.2.0").write_text("")
    (unused / "metrics.csv").write_text("")
    (used / "edits").mkdir()
    (used / "edits" / "delta.safetensors").write_text("")
    discard_if_unused(unused)
    discard_if_unused(used)
    assert [path.name for path in tmp_path.iterdir()] == ["used"]
    assert (used / "edits" / "delta.safetensors").exists()


@pytest.mark.parametrize("version", ["run-id", 3])
def test_another_trainers_run_has_a_folder_of_its_own(tmp_path, version):
    def folder(*loggers):
        return run_folder(L.Trainer(accelerator="cpu", logger=list(loggers), default_root_dir=tmp_path))

    board = TensorBoardLogger(tmp_path, name="board", version="a")
    assert folder(board, FakeBoard(None, version)) == tmp_path / "board" / "a"
    assert folder(CSVLogger(tmp_path, name="table", version=1)) == tmp_path / "table" / "version_1"
    expected = Path("project", version if isinstance(version, str) else f"version_{version}")
    assert folder(FakeBoard(str(tmp_path / "boards"), version)) == tmp_path / "boards" / expected
    assert folder(FakeBoard(None, version)) == tmp_path / expected
    assert folder() == tmp_path
