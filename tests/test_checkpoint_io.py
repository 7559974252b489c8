"""Checkpoints are whole under their final name, and nothing else is taken for one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import damage
import pytest
import tiny
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from edit_lit.checkpoint_io import AtomicCheckpointIO
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.files import WriteError

MADE = {"state_dict": {"weight": torch.arange(100_000.0)}, "step": 3}


def load(path):
    return AtomicCheckpointIO().load_checkpoint(path, weights_only=True)


def test_what_is_saved_is_loaded_and_a_trainer_saves_with_it(tmp_path):
    callback = ModelCheckpoint(tmp_path / "checkpoints", save_last=True, every_n_train_steps=1, save_top_k=-1)
    trainer = tiny.trainer(
        str(tmp_path), [callback], plugins=[AtomicCheckpointIO()], max_epochs=1, enable_checkpointing=True
    )
    tuner = tiny.tuner()
    trainer.fit(tuner, tiny.data())
    found = load(callback.last_model_path)
    assert found["global_step"] == 3
    trained = {name: value for name, value in tuner.state_dict().items() if name in found["state_dict"]}
    assert all(torch.equal(found["state_dict"][name], value) for name, value in trained.items())
    assert not [path for path in (tmp_path / "checkpoints").iterdir() if path.suffix != ".ckpt"]
    AtomicCheckpointIO().remove_checkpoint(callback.last_model_path)
    assert not Path(callback.last_model_path).exists()


def test_a_full_disk_leaves_the_last_checkpoint_whole_and_says_so(tmp_path):
    path, plugin = tmp_path / "last.ckpt", AtomicCheckpointIO()
    plugin.save_checkpoint(MADE, path)
    with damage.room_for(100_000), pytest.raises(WriteError, match=f"^{path} cannot be written .*too large.*Make room"):
        plugin.save_checkpoint({**MADE, "step": 4}, path)
    assert load(path)["step"] == 3
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_what_is_no_whole_checkpoint_is_refused_in_one_line(tmp_path):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(MADE, path)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ConfigError, match=f"^{path} is no whole checkpoint .*Resume from an earlier checkpoint"):
            load(path)
    for bit in range(8000, 8 * (len(whole) - 2000), 400_000):
        path.write_bytes(whole)
        damage.flip(path, bit)
        with pytest.raises(ConfigError, match="damaged: bits of .* have changed"):
            load(path)
    with pytest.raises(ConfigError, match="is no whole checkpoint"):
        load(tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        load(tmp_path / "absent.ckpt")
    torch.save({"object": AtomicCheckpointIO()}, path)
    with pytest.raises(ConfigError, match=r"is no checkpoint of this project \(Weights only load failed[^\n]*$"):
        load(path)


def test_urls_are_left_to_lightning():
    AtomicCheckpointIO().save_checkpoint(MADE, "memory://folder/last.ckpt")
    assert load("memory://folder/last.ckpt")["step"] == 3
    with pytest.raises(TypeError, match="storage_options"):
        AtomicCheckpointIO().save_checkpoint(MADE, "last.ckpt", storage_options={})


def other_file_system(here: Path) -> Path | None:
    """A folder on another file system than the temporary folder, where there is one."""
    shared = Path("/dev/shm")
    another = shared.is_dir() and os.access(shared, os.W_OK) and shared.stat().st_dev != here.stat().st_dev
    return Path(tempfile.mkdtemp(dir=shared)) if another else None


def test_a_kill_while_saving_leaves_a_whole_checkpoint(tmp_path):
    """On another file system than the temporary folder, if there is one, where Lightning's own plug-in leaves half."""
    folder = other_file_system(tmp_path) or tmp_path
    try:
        script = Path(__file__).parent / "faults" / "kill_while_saving.py"
        ran = subprocess.run(
            [sys.executable, str(script), str(folder), "15"], capture_output=True, text=True, timeout=300, check=True
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert re.search(r"^15 of 15 whole", ran.stdout), ran.stdout
