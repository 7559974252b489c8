"""The bars of a run on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from edit_lit.utilities.progress import counted

_BESIDE = 24
"""Columns that a status leaves to the steps and the bar."""


class TerminalBar:
    """A bar of the steps, with a status beside it, and below it one of a validation while that lasts.

    What is printed meanwhile appears above it.

    Args:
        keep: Leave the bar on the screen when it ends.
    """

    def __init__(self, keep: bool) -> None:
        console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            # The bar takes what is left over, and of a status that is too long the end is missing.
            TextColumn(
                "{task.fields[status]}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis", max_width=max(1, console.width - _BESIDE)),
            ),
            console=console,
            transient=not keep,
            expand=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._bars.start()

    def move(self, label: str, done: int, total: int | None, status: str | None = None) -> None:
        """Show how many are done.

        Args:
            label: What is being done; its bar is made with the first call.
            done: How many are done.
            total: How many there are to do, if that is known.
            status: What stands beside the bar from now on; what stood there if not given.
        """
        described = counted(label, done, total)
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(described, total=total, completed=done, status=status or "")
            return
        task = self._tasks[label]
        self._bars.update(task, description=described, completed=done, total=total)
        if status is not None:
            self._bars.update(task, status=status)

    def remove(self, label: str) -> None:
        """Take a bar away, if it is there."""
        if label in self._tasks:
            self._bars.remove_task(self._tasks.pop(label))

    def stop(self) -> None:
        """Show the last state and end."""
        self._bars.stop()
