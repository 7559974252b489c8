"""Checkpoints that are whole under their final name, on any file system."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from lightning.pytorch.plugins.io import TorchCheckpointIO

from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.files import write_atomically


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints straight beside their place, and moves them there once they are on the disk.

    Lightning's own go through the system's temporary folder, from which a move to another file system is a copy that a
    kill leaves torn. What is read is compared with the checksums that are in the file. URLs are left to Lightning.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Save a checkpoint.

        Args:
            checkpoint: What is saved.
            path: A file or URL.
            storage_options: Taken by no file system here; an error if given.

        Raises:
            WriteError: If the disk is full, or the folder cannot be written to; an earlier file stays whole.
        """
        local = _local(path)
        if local is None or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
        else:
            write_atomically(local, lambda temporary: _save(checkpoint, temporary))

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = lambda storage, location: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Load a checkpoint.

        Args:
            path: A file or URL.
            map_location: Where tensors go, as in ``torch.load``.
            weights_only: Load nothing but tensors and plain values, as in ``torch.load``.

        Raises:
            ConfigError: If there is no such file, or it is truncated, damaged or no checkpoint.
        """
        local = _local(path)
        if local is not None:
            _check_whole(local)
        try:
            checkpoint: dict[str, Any] = super().load_checkpoint(path, map_location, weights_only)
        except UnpicklingError as error:
            reason = str(error).split("\n")[0]
            raise ConfigError(f"{path} is no checkpoint of this project ({reason}). Name another.") from error
        return checkpoint


def _local(path: str | Path) -> Path | None:
    """The path on a local file system; none if it is elsewhere."""
    system, stripped = url_to_fs(str(path))
    return Path(stripped) if isinstance(system, LocalFileSystem) else None


def _save(checkpoint: dict[str, Any], path: Path) -> None:
    try:
        with path.open("wb") as file:
            torch.save(checkpoint, file)
    except RuntimeError as error:
        # torch's writer reports a full disk as a position that it did not expect.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def _check_whole(path: Path) -> None:
    """Compare every byte of a checkpoint with its checksums; torch itself does not."""
    remedy = "Resume from an earlier checkpoint, or start the run again."
    try:
        with ZipFile(path) as file:
            odd = file.testzip()
    except FileNotFoundError as error:
        raise ConfigError(f"the checkpoint {path} does not exist. Name one that a run wrote.") from error
    except (BadZipFile, OSError, NotImplementedError) as error:
        raise ConfigError(f"{path} is no whole checkpoint ({error}). {remedy}") from error
    if odd is not None:
        raise ConfigError(f"{path} is damaged: bits of {odd} have changed. {remedy}")
