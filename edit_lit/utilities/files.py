"""Files that are whole under their final name, and the cache folder."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from edit_lit.utilities.errors import ConfigError

PARTIAL = ".partial-"
"""What the folders are called in which files are written before they get their place."""

_DAY = 24 * 60 * 60


class WriteError(ConfigError, OSError):
    """A file that could not be written; what stood under its name before is still there, whole."""


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file in a folder of its own beside its place, then move it there.

    Under the final name there is the old file or the new one, whole, whatever is killed and whoever else writes it at
    the same time. The new one is on the disk before the old one goes, and its permissions follow the umask, whatever
    its writer's are. What killed processes leave behind is removed after a day.

    Args:
        path: The final name; its folder is made if need be.
        write: Called with the temporary name, writes the whole file. The name ends as the final one does, by which some
            writers choose the format.

    Raises:
        WriteError: If the disk is full, or the folder cannot be written to.
    """
    with _place_beside(path) as partial:
        # Not a name alone: some writers have temporary files of their own beside what they write.
        temporary = partial / path.name
        write(temporary)
        temporary.chmod(partial.stat().st_mode & 0o666)
        _to_disk(temporary)
        os.replace(temporary, path)


def write_folder_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a folder of files beside its place, then move it there: under its name it is whole, or not there.

    Args:
        path: The final name; nothing may be there yet but an empty folder.
        write: Called with a temporary folder, writes all files into it.

    Raises:
        WriteError: If something is there, the disk is full, or the place cannot be written to.
    """
    with _place_beside(path) as partial:
        write(partial)
        for written in partial.rglob("*"):
            _to_disk(written)
        os.replace(partial, path)


@contextmanager
def _place_beside(path: Path) -> Iterator[Path]:
    """A folder beside a final name to write in, which is gone afterwards; what was moved out of it is on the disk."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
        partial = path.parent / f"{PARTIAL}{uuid4().hex}"
        partial.mkdir()
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise WriteError(
            f"{path} cannot be written ({error.strerror or error}). Make room and see to the permissions there, or "
            "name another folder."
        ) from error
    with suppress(OSError):  # Some file systems know no such thing; what was written is safe.
        _to_disk(path.parent)


def _to_disk(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(folder: Path) -> None:
    for partial in folder.glob(f"{PARTIAL}*"):
        with suppress(OSError):  # Another process was faster.
            if time.time() - partial.stat().st_mtime > _DAY:
                shutil.rmtree(partial)


def default_cache_dir() -> Path:
    """``$XDG_CACHE_HOME/edit_lit``, or ``~/.cache/edit_lit``.

    Raises:
        ConfigError: If the user has no home.
    """
    given = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(given or Path.home() / ".cache") / "edit_lit"
    except RuntimeError as error:
        raise ConfigError("there is no home folder to keep caches in. Set XDG_CACHE_HOME to a folder.") from error
