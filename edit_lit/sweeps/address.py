"""Where a trial is kept: under a hash of everything that its result depends on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import xxhash

from edit_lit.utilities.identity import content_hash
from edit_lit.utilities.progress import progress

_PACKAGES = ("edit_lit", "callbacks")
_CODE = Path(__file__).parents[2]

_NO_RESULT = ("name", "config", "resume", "ckpt_path", "weights_only", "tensorboard", "progress")
"""Options that change where a run is kept and how it is watched, and nothing of what it measures."""
_NO_RESULT_OF_TRAINER = ("default_root_dir", "logger", "enable_progress_bar", "enable_model_summary", "profiler")

_OF_PATHS = ("path", "dir", "folder", "root", "file")


class Addresses:
    """Finds the addresses of trials, and of what several of them need. Each file is read once.

    Files and folders that options name count by their content, wherever they lie.

    Args:
        versions: What every result depends on besides the options: the code and the libraries.
    """

    def __init__(self, versions: Mapping[str, str]) -> None:
        self._versions = dict(versions)
        self._hashes: dict[str, str] = {}

    def trial(self, options: Mapping[str, Any]) -> str:
        """The address of a trial, 16 hexadecimal digits.

        Args:
            options: The trial's resolved options, nested.
        """
        kept = {key: value for key, value in options.items() if key not in _NO_RESULT}
        trainer = {key: value for key, value in kept.get("trainer", {}).items() if key not in _NO_RESULT_OF_TRAINER}
        return self._address(kept | {"trainer": trainer})

    def edit(self, options: Mapping[str, Any]) -> str | None:
        """The address of the edit that a trial needs, which trials that differ in other things share.

        Args:
            options: The trial's resolved options, nested.

        Returns:
            16 hexadecimal digits; none if the trial edits nothing.
        """
        edit = options.get("edit") or {}
        if not _edits(options):
            return None
        parts = [edit, _of(options, "model", "language_model"), _of(options, "data", "edits")]
        # What names no seed of its own follows the run's one seed.
        if any(key == "seed" and value is None for part in parts for key, value in _leaves(part)):
            parts.append(options.get("seed_everything"))
        return self._address(parts)

    def statistics(self, options: Mapping[str, Any]) -> str | None:
        """The address of the corpus statistics that a trial's edit needs, which edits share; none without any."""
        measured = _of(options, "edit", "editor", "init_args", "key_covariance") if _edits(options) else None
        return self._address([measured, _of(options, "model", "language_model")]) if measured else None

    def _address(self, value: Any) -> str:
        return content_hash(self._by_content(value), self._versions)[:16]

    def _by_content(self, value: Any, key: str = "") -> Any:
        if isinstance(value, Mapping):
            return {str(name): self._by_content(item, str(name)) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._by_content(item, key) for item in value]
        if isinstance(value, (str, os.PathLike)):
            text = os.fspath(value)
            return {"content": self._content(text)} if _is_path(text, key) else text
        return value if isinstance(value, (bool, int, float, NoneType)) else str(value)

    def _content(self, text: str) -> str:
        if text not in self._hashes:
            path = Path(text)
            self._hashes[text] = _file_hash(path) if path.is_file() else _folder_hash(path)
        return self._hashes[text]


def code_version() -> str:
    """A hash of this package's files, its model included."""
    digest = xxhash.xxh3_128()
    for package in _PACKAGES:
        for path in sorted((_CODE / package).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                digest.update(f"{path.relative_to(_CODE)} {_file_hash(path)}\n".encode())
    return digest.hexdigest()


def _edits(options: Mapping[str, Any]) -> bool:
    """Whether a trial makes an edit; a control may name an editor, too."""
    return bool(_of(options, "edit", "editor")) and _of(options, "edit", "apply") is not False


def _of(options: Any, *keys: str) -> Any:
    for key in keys:
        options = options.get(key) if isinstance(options, Mapping) else None
    return options


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, str(name))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item, key)
    else:
        yield key, value


def _is_path(text: str, key: str) -> bool:
    """Whether a text names what lies on this disk; a plain word does only where a path is asked for."""
    if not text or len(text) > 1000 or "\0" in text or "\n" in text:
        return False
    meant = os.sep in text or key.split("_")[-1] in _OF_PATHS
    return os.path.isfile(text) or (meant and os.path.isdir(text))


def _folder_hash(folder: Path) -> str:
    """A hash of all files of a folder with their names."""
    digest = xxhash.xxh3_128()
    files = sorted(item for item in folder.rglob("*") if item.is_file())
    for item in progress(files, f"reading {folder}", "files"):
        digest.update(f"{item.relative_to(folder)} {_file_hash(item)}\n".encode())
    return digest.hexdigest()


def _file_hash(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
    return digest.hexdigest()
