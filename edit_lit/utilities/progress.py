"""How far something is: a bar on a terminal, and now and then a line in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, Self, TypeVar

from rich.console import Console
from tqdm.auto import tqdm

from edit_lit.utilities import distributed

log = logging.getLogger(__name__)

T = TypeVar("T")

_RAREST = 300.0


class Pace:
    """Says when the next line of a log is due: at most one in so many steps and in so many seconds.

    The longer it takes, the rarer lines become: a twentieth of the time so far lies between two of them, but never
    more than five minutes. With 5 seconds that makes six lines in half a minute, a hundred in the first hour and a
    thousand in three days.

    Args:
        step: The step at which it starts.
        seconds: Least seconds between two lines.
        steps: Least steps between two lines.
        share: The share of the time so far that lies between two lines; 0 to keep to ``seconds``.
    """

    def __init__(self, step: int = 0, seconds: float = 5.0, steps: int = 1, share: float = 1 / 20) -> None:
        self.seconds = seconds
        self.steps = steps
        self.share = share
        self._started = self._last = time.monotonic()
        self._first_step = self._last_step = step
        # Two points to measure the speed from: one reached with a quarter to a half of the steps so far, and one later.
        self._earlier = self._later = (self._started, step)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def due(self, step: int) -> bool:
        """Whether a line is due at this step; it is then taken to be written."""
        now = time.monotonic()
        least = max(self.seconds, min(self.share * (now - self._started), _RAREST))
        if step - self._last_step < self.steps or now - self._last < least:
            return False
        self._last, self._last_step = now, step
        if step - self._first_step >= 2 * (self._later[1] - self._first_step):
            self._earlier, self._later = self._later, (now, step)
        return True

    def left(self, step: int, total: int | None) -> float | None:
        """Seconds left to the last step, at the mean speed since the first quarter or half of the steps so far.

        Unknown before the first step, or if there is no last one.
        """
        since, first = self._earlier
        if total is None or step <= first:
            return None
        return max(0, total - step) * (time.monotonic() - since) / (step - first)


class LogLines:
    """What a bar is to a terminal: a line in the log every so many seconds, and none of what is done before that.

    Args:
        label: What is being done.
        total: How many there are to do, if that is known.
        unit: What is counted.
    """

    def __init__(self, label: str, total: int | None, unit: str) -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.done = 0
        self._pace = Pace()
        self._wrote = False

    def update(self, count: int = 1) -> None:
        """So many more are done."""
        self.done = self.done + count if self.total is None else min(self.done + count, self.total)
        if self.done != self.total and self._pace.due(self.done):
            left = self._pace.left(self.done, self.total)
            self._write(f"left {time_text(left)}" if left is not None else f"so far {time_text(self._pace.elapsed)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        if kind is None:
            self.close()

    def close(self) -> None:
        """All is done: a last line, if there was one before."""
        if self._wrote:
            self._write(f"took {time_text(self._pace.elapsed)}")

    def _write(self, when: str) -> None:
        self._wrote = True
        log.info("%s %s, %s", counted(f"{self.label}:", self.done, self.total), self.unit, when)


def progress_bar(label: str, total: int | None, unit: str) -> tqdm[Any] | LogLines:
    """A context whose ``update(count)`` shows progress: nothing in the first seconds, in the first process only.

    Args:
        label: What is being done.
        total: How many there are to do, if that is known.
        unit: What is counted, in the plural.
    """
    if distributed.rank() > 0 or shows_bars():
        hidden = distributed.rank() > 0
        return tqdm(total=total, desc=label, unit=f" {unit}", delay=2, leave=False, disable=hidden)
    return LogLines(label, total, unit)


def progress(items: Iterable[T], label: str, unit: str, hidden: bool = False) -> Iterator[T]:
    """The items, with their progress shown.

    Args:
        items: What is gone through.
        label: What is being done.
        unit: What the items are, in the plural.
        hidden: Show nothing.
    """
    if hidden:
        yield from items
        return
    with progress_bar(label, len(items) if isinstance(items, Sized) else None, unit) as bar:
        for item in items:
            yield item
            bar.update(1)


def shows_bars() -> bool:
    """Whether whoever watches sees a bar move: on a terminal or in a notebook, not in a file."""
    console = Console(stderr=True)
    # Some take a file for a terminal if it may have colors.
    return console.is_jupyter or (console.is_interactive and sys.stderr is not None and sys.stderr.isatty())


def counted(label: str, done: int, total: int | None) -> str:
    """How many are done of how many, such as ``step 150/400``."""
    return f"{label} {done}" if total is None else f"{label} {done}/{total}"


def time_text(seconds: float) -> str:
    """A time such as ``0:42`` or ``13:05:00``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
