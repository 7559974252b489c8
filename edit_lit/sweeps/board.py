"""How a sweep stands: a line, a table of what runs, and an estimate of the time that is left."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edit_lit.reports.escaping import terminal_text
from edit_lit.sweeps.folder import PlannedTrial, SweepFolder
from edit_lit.sweeps.jobs import Job
from edit_lit.sweeps.status import Stage, Status, count_stages, progress_of, trial_status
from edit_lit.utilities.progress import Pace, shows_bars, time_text

log = logging.getLogger(__name__)

_MOST_ROWS = 20


@dataclass
class Board:
    """Reads how a sweep stands from its folder, which anyone may do at any time.

    Args:
        folder: The sweep's folder.
        trials: Its trials.
        slots: How many of them run at once; as many as run now if not given.
        edits: What is made before the trials that need it.
    """

    folder: SweepFolder
    trials: Sequence[PlannedTrial]
    slots: int | None = None
    edits: Sequence[Job] = ()
    pace: Pace = field(default_factory=lambda: Pace(seconds=10, steps=0))

    def statuses(self, driven: bool = True) -> dict[str, Status]:
        """How far each trial has come, by address.

        Args:
            driven: Whether the sweep is being carried out.
        """
        return {trial.address: trial_status(self.folder.trial(trial.address), driven) for trial in self.trials}

    def seconds_left(self, statuses: Mapping[str, Status]) -> float | None:
        """Seconds that are left, by the mean time of the trials that are done; none before there is one."""
        took = [status.seconds for status in statuses.values() if status.stage.is_done and status.seconds]
        slots = self.slots or sum(status.stage is Stage.RUNNING for status in statuses.values())
        if not took or not slots:
            return None
        left = 0.0
        for address, status in statuses.items():
            if not status.stage.is_done and status.stage is not Stage.FAILED:
                left += 1 - (self._share(address) if status.stage is Stage.RUNNING else 0)
        return left * sum(took) / len(took) / slots

    def line(self, statuses: Mapping[str, Status]) -> str:
        """How many trials are at each stage, and the time that is left."""
        counts = count_stages(statuses)
        done = sum(count for stage, count in counts.items() if stage.is_done)
        parts = [f"{done} of {len(statuses)} trials done"]
        if Stage.DIVERGED in counts:
            parts[0] += f" ({counts[Stage.DIVERGED]} diverged)"
        parts += [f"{count} {stage}" for stage, count in counts.items() if not stage.is_done]
        edits = sum(not job.status().stage.is_done for job in self.edits)
        if edits:
            parts.append(f"{edits} shared edit{'s' if edits > 1 else ''} to make first")
        left = self.seconds_left(statuses)
        if left:
            parts.append(f"left {time_text(left)}")
        return ", ".join(parts)

    def table(self, statuses: Mapping[str, Status]) -> Table:
        """The trials that run, and those that failed."""
        table = Table()
        for column in ("trial", "stage", "step", "on"):
            table.add_column(column)
        shown = [trial for trial in self.trials if statuses[trial.address].stage in (Stage.RUNNING, Stage.FAILED)]
        for trial in shown[:_MOST_ROWS]:
            status = statuses[trial.address]
            step, last = progress_of(self.folder.trial(trial.address))
            where = status.error or "" if status.stage is Stage.FAILED else status.host
            steps = f"{step}/{last}" if last else str(step)
            table.add_row(*map(terminal_text, (str(trial), status.stage, steps, where)))
        return table

    @contextmanager
    def shown(self) -> Iterator[Live | None]:
        """A place on the terminal for the table, which is drawn anew; none where nobody watches."""
        if not shows_bars():
            yield None
            return
        with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
            yield live

    def show(self, live: Live | None, driven: bool = True) -> dict[str, Status]:
        """Show how the sweep stands; without a terminal now and then a line.

        Args:
            live: Where the table is drawn.
            driven: Whether the sweep is being carried out.

        Returns:
            How far each trial has come, by address.
        """
        statuses = self.statuses(driven)
        if live is not None:
            live.update(Group(self.table(statuses), Text(self.line(statuses))), refresh=True)
        elif self.pace.due(0):
            log.info("%s", self.line(statuses))
        return statuses

    def _share(self, address: str) -> float:
        step, last = progress_of(self.folder.trial(address))
        return step / last if last else 0.0
