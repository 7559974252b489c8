"""What a run is made with: versions, and the commit of this package's checkout."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("edit_lit", "torch", "lightning", "transformers", "peft", "datasets")
_ROOT = Path(__file__).parents[2]


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the libraries behind the numbers."""
    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}


def commit(root: Path = _ROOT) -> dict[str, str | bool] | None:
    """The commit of a checkout.

    Args:
        root: The checkout's topmost folder. A folder within another project's checkout has no commit of its own.

    Returns:
        ``hash``, and ``dirty`` if files differ from it or are not in it; nothing without git, or if it is no checkout.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    name = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain")
    if top is None or name is None or changes is None or Path(top).resolve() != root.resolve():
        return None
    return {"hash": name, "dirty": bool(changes)}


def _git(root: Path, *command: str) -> str | None:
    # What a git hook has set points at its own repository. No lock: a run must not get in the way of a commit.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *command],
            cwd=root,
            env=environment | {"GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
