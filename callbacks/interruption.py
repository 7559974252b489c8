"""Signals that end a run: behind the step that is being trained, or at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C, what schedulers send to end a job, and what SLURM sends ahead of that to a job that asked for it."""


class Interrupted(SystemExit):
    """The end of a run that was asked to stop; unless it is caught, the process ends as the signal would have it.

    Args:
        signum: The signal.

    Attributes:
        signum: The signal.
    """

    def __init__(self, signum: int) -> None:
        # As shells count the processes that a signal ended.
        super().__init__(128 + signum)
        self.signum = signum


class Interruption:
    """Listens to the signals that ask a run to end.

    Attributes:
        deferred: While it is set, a signal is noted, for the training to end behind its step; otherwise it raises
            :class:`Interrupted` at once. A second SIGINT always does.
        asked: The signal that was noted.
    """

    def __init__(self) -> None:
        self.deferred = False
        self.asked: int | None = None
        self._signals: Sequence[int] = ()

    @contextmanager
    def listening(self, signals: Sequence[int]) -> Iterator[None]:
        """Listen for the length of a ``with`` block; outside of the main thread, where Python allows none, do nothing.

        Args:
            signals: SIGINT, SIGTERM and their like.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._signals, self.deferred, self.asked = signals, False, None
        before = {signum: signal.getsignal(signum) for signum in signals}
        self.take_over()
        try:
            yield
        finally:
            self._signals = ()
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def take_over(self) -> None:
        """Be the only listener again; Lightning adds its own, which under DDP talks to the other processes mid-step."""
        for signum in self._signals:
            signal.signal(signum, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        first, self.asked = self.asked is None, self.asked or signum
        # Schedulers and launchers may send the same SIGTERM twice; two times Ctrl-C is a person who will not wait.
        if not self.deferred or (signum == signal.SIGINT and not first):
            raise Interrupted(signum)
