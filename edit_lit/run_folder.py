"""The folder of a run: one of its own, whatever loggers there are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path, PurePath

import lightning as L
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.locks import exclusive
from edit_lit.utilities.run_files import CONFIG, LOCK, METRICS, VERSION

_PATIENCE = 10.0
_OF_STARTING = ("events.out.tfevents.*", "hparams.yaml", METRICS, CONFIG, LOCK)


def check_run_name(name: str) -> None:
    """Refuse a name that is no folder of its own under another.

    Raises:
        ConfigError: If the name is empty or leads out of the root.
    """
    parts = PurePath(name).parts
    if not parts or PurePath(name).is_absolute() or ".." in parts or "\0" in name:
        raise ConfigError(
            f"name is {name!r}, which is no folder under trainer.default_root_dir. Give a plain name, such as 'mine'."
        )


def new_run_folder(root: str | Path, name: str, job: str | None = None) -> Path:
    """Take the next free ``<root>/<name>/version_<k>``; of two runs that ask at once each gets its own.

    Args:
        root: Folder of all runs.
        name: Name of the run; with ``/`` in it, a folder of runs and the run's own.
        job: Number of the job of a cluster that the run is; its folder is then ``job_<number>``, so that it can be
            found again, with ``-2`` and so on for further runs of that name in the job.

    Raises:
        ConfigError: If the name leads out of the root, or the folder cannot be made.
    """
    check_run_name(name)
    folder = Path(root, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for version in _versions(folder, job):
            try:
                (folder / version).mkdir()
            except FileExistsError:
                continue
            return folder / version
    except OSError as error:
        raise ConfigError(
            f"the run's folder cannot be made in {folder} ({error.strerror}). Name another trainer.default_root_dir."
        ) from error
    raise AssertionError("there is always another version")


def _versions(folder: Path, job: str | None) -> Iterator[str]:
    """Names that may be free, the best one first."""
    if job is not None:
        yield f"job_{job}"
        yield from (f"job_{job}-{number}" for number in count(2))
    taken = [int(match[1]) for entry in os.listdir(folder) if (match := VERSION.fullmatch(entry))]
    yield from (f"version_{version}" for version in count(max(taken, default=-1) + 1))


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep other processes from writing into a run's folder for the length of a ``with`` block.

    The hold ends with the process, however that ends. On a file system that knows no locks there is none.

    Args:
        folder: The run's folder.

    Raises:
        ConfigError: If another process holds it, and does not end within some seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(folder / LOCK, _PATIENCE))
        except TimeoutError as error:
            raise ConfigError(
                f"the run in {folder} is still going on in another process. Stop that one, or wait for it."
            ) from error
        yield


def discard_if_unused(folder: Path) -> None:
    """Remove the folder of a run that ended before it began, unless it holds more than every start leaves there."""
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    if all(any(path.match(pattern) for pattern in _OF_STARTING) for path in files):
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
