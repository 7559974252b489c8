"""Atomic writes, and the cache folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name beside its place, then move it there.

    Args:
        path: The final name; its folder is made if need be.
        write: Called with the temporary name, writes the whole file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: some writers choose the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def default_cache_dir() -> Path:
    """``$XDG_CACHE_HOME/edit_lit``, or ``~/.cache/edit_lit``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edit_lit"
