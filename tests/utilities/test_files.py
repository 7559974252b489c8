"""Files are whole under their final name, whatever happens while they are written."""

from __future__ import annotations

import errno
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import damage
import pytest
import torch

from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.files import PARTIAL, WriteError, default_cache_dir, write_atomically, write_folder_atomically
from edit_lit.utilities.tensor_files import write_tensors


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_full_disk_leaves_the_old_file_whole_and_says_what_to_do(tmp_path):
    path = tmp_path / "file.bin"
    write_atomically(path, lambda temporary: temporary.write_bytes(b"old"))
    expected = f"^{path} cannot be written .* or name another folder.$"
    with damage.room_for(1000), pytest.raises(WriteError, match=expected):
        write_atomically(path, lambda temporary: temporary.write_bytes(b"new" * 1000))
    with damage.room_for(1000), pytest.raises(WriteError, match=expected):
        write_tensors(path, {"large": torch.zeros(1000)}, {})
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file.bin"]
    assert issubclass(WriteError, ConfigError)
    assert issubclass(WriteError, OSError)


@pytest.mark.parametrize("call", ["fsync", "replace", "mkdir"])
def test_a_disk_that_fails_at_the_end_or_at_the_start_does_so_too(tmp_path, monkeypatch, call):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")

    def fails(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fails)
    with pytest.raises(WriteError, match="No space left on device"):
        write_atomically(path, lambda temporary: temporary.write_bytes(b"new"))
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file.bin"]


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    def fails(temporary):
        temporary.write_bytes(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_atomically(tmp_path / "folder" / "file.bin", fails)
    assert names(tmp_path / "folder") == []


def test_the_bytes_are_on_the_disk_before_the_name_is_and_then_the_name(tmp_path, monkeypatch):
    done, replace, fsync = [], os.replace, os.fsync
    monkeypatch.setattr(os, "replace", lambda *args: done.append("name") or replace(*args))
    monkeypatch.setattr(os, "fsync", lambda file: done.append(Path(f"/proc/self/fd/{file}").readlink()) or fsync(file))
    write_atomically(tmp_path / "file.bin", lambda temporary: temporary.write_bytes(b"new"))
    assert [str(path).rsplit("/", 1)[-1] for path in done] == ["file.bin", "name", tmp_path.name]


@pytest.mark.parametrize(("umask", "file", "folder"), [(0o002, 0o664, 0o775), (0o027, 0o640, 0o750)])
def test_who_may_read_a_shared_cache_is_up_to_the_umask(tmp_path, umask, file, folder):
    before = os.umask(umask)
    try:
        path = tmp_path / "cache" / "deep" / "file.safetensors"
        write_tensors(path, {"some": torch.zeros(3)}, {})
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == file
    assert {parent.stat().st_mode & 0o777 for parent in path.parents[:2]} == {folder}


def test_many_writers_at_once_do_not_mix(tmp_path):
    path, together = tmp_path / "file.bin", threading.Barrier(4)

    def write(number):
        def begin_together(temporary):
            temporary.write_bytes(bytes([number]) * 50_000)
            together.wait(30)
            with temporary.open("ab") as file:
                file.write(bytes([number]) * 50_000)

        write_atomically(path, begin_together)
        found = path.read_bytes()
        return len(found), len(set(found))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, range(4))) == [(100_000, 1)] * 4
    assert names(tmp_path) == ["file.bin"]


def test_what_killed_processes_left_goes_after_a_day(tmp_path):
    young, old = tmp_path / f"{PARTIAL}young", tmp_path / f"{PARTIAL}old"
    for folder in (young, old):
        folder.mkdir()
        (folder / "file.bin").write_bytes(b"half")
    a_day_ago = time.time() - 25 * 60 * 60
    os.utime(old, (a_day_ago, a_day_ago))
    write_atomically(tmp_path / "file.bin", lambda temporary: temporary.write_bytes(b"new"))
    assert names(tmp_path) == [young.name, "file.bin"]


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(ConfigError, match="Set XDG_CACHE_HOME"):
        default_cache_dir()


def test_a_folder_is_whole_under_its_name_or_not_there(tmp_path):
    place = tmp_path / "new" / "model"

    def fails(folder):
        (folder / "half").write_text("half")
        raise KeyError("in the middle")

    with pytest.raises(KeyError):
        write_folder_atomically(place, fails)
    assert names(place.parent) == []

    def writes(folder):
        (folder / "inner").mkdir()
        (folder / "inner" / "whole").write_text("whole")

    write_folder_atomically(place, writes)
    assert (place / "inner" / "whole").read_text() == "whole"
    with pytest.raises(WriteError, match="cannot be written"):
        write_folder_atomically(place, lambda folder: (folder / "other").write_text("other"))
    assert names(place) == ["inner"]
    assert names(place.parent) == ["model"]
