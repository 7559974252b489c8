"""Locks between processes, which end with the process that holds them."""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

_PAUSE = 0.1


@contextmanager
def exclusive(path: Path, patience: float | None = None, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a file's lock for the length of a ``with`` block; of several processes one at a time gets it.

    The lock ends with the process, however that ends. On a file system that knows no locks there is none.

    Args:
        path: The file, which is made if need be and stays; its folder must be there.
        patience: Seconds to wait for another process; as long as it takes if not given.
        on_wait: Called once if another process holds it.

    Raises:
        TimeoutError: If another process holds it longer.
        OSError: If the file cannot be opened.
    """
    with path.open("a") as file:
        until = time.monotonic() + patience if patience is not None else None
        told = False
        while not _taken(file.fileno()):
            if until is not None and time.monotonic() > until:
                raise TimeoutError(f"another process holds {path}")
            if on_wait is not None and not told:
                told = True
                on_wait()
            time.sleep(_PAUSE)
        yield


@contextmanager
def making(path: Path, what: str) -> Iterator[None]:
    """Be the only process on this disk that makes a file, so that none is made twice; where that cannot be, go on.

    Args:
        path: The file. Its lock stands beside it.
        what: What it is, for the line that says that another process is at it.
    """
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.with_name(f".{path.name}.lock")
            stack.enter_context(exclusive(lock, on_wait=lambda: log.info("another process makes %s; waiting", what)))
        except OSError:
            pass  # Nothing can be written there either.
        yield


def is_held(path: Path) -> bool:
    """Whether a process holds a file's lock."""
    try:
        with exclusive(path, patience=0):
            return False
    except TimeoutError:
        return True
    except OSError:
        return False


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # A file system without locks.
    return True
