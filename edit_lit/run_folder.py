"""The folder of a run: one of its own, whatever loggers there are."""

from __future__ import annotations

import os
import re
import shutil
from itertools import count
from pathlib import Path, PurePath

import lightning as L
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from edit_lit.utilities.errors import ConfigError

_VERSION = re.compile(r"version_(\d+)")
_OF_LOGGERS = ("events.out.tfevents.*", "hparams.yaml", "metrics.csv")


def new_run_folder(root: str | Path, name: str) -> Path:
    """Take the next free ``<root>/<name>/version_<k>``; of two runs that ask at once each gets its own.

    Args:
        root: Folder of all runs.
        name: Name of the run; with ``/`` in it, a folder of runs and the run's own.

    Raises:
        ConfigError: If the name leads out of the root, or the folder cannot be made.
    """
    parts = PurePath(name).parts
    if not parts or PurePath(name).is_absolute() or ".." in parts or "\0" in name:
        raise ConfigError(
            f"name is {name!r}, which is no folder under trainer.default_root_dir. Give a plain name, such as 'mine'."
        )
    folder = Path(root, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = [int(match[1]) for entry in os.listdir(folder) if (match := _VERSION.fullmatch(entry))]
        for version in count(max(taken, default=-1) + 1):
            try:
                (folder / f"version_{version}").mkdir()
            except FileExistsError:
                continue
            return folder / f"version_{version}"
    except OSError as error:
        raise ConfigError(
            f"the run's folder cannot be made in {folder} ({error.strerror}). Name another trainer.default_root_dir."
        ) from error
    raise AssertionError("there is always another version")


def discard_if_unused(folder: Path) -> None:
    """Remove the folder of a run that ended before it began, unless it holds more than loggers leave by themselves."""
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    if all(any(path.match(pattern) for pattern in _OF_LOGGERS) for path in files):
        shutil.rmtree(folder, ignore_errors=True)
        for parent in folder.parents[:2]:
            if not parent.is_dir() or any(parent.iterdir()):
                break
            parent.rmdir()


def run_folder(trainer: L.Trainer) -> Path:
    """Where a run keeps its own files; all processes must ask together.

    The command line's trainer has a folder of its own. With another trainer it is where Lightning keeps the run's
    checkpoints: the first logger's folder, by its name and version, or the trainer's root without loggers.
    """
    first = trainer.loggers[0] if trainer.loggers else None
    own = type(trainer).log_dir is not L.Trainer.log_dir
    if own or first is None or isinstance(first, (TensorBoardLogger, CSVLogger)):
        return Path(trainer.log_dir or trainer.default_root_dir)
    version = first.version if isinstance(first.version, str) else f"version_{first.version}"
    folder = Path(first.save_dir or trainer.default_root_dir, str(first.name), version)
    return Path(trainer.strategy.broadcast(str(folder)))
