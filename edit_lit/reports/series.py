"""A series of cycles read back from its folder: the unit is the cycle, and never a fact that all of them ask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edit_lit.deltas import read_provenance
from edit_lit.measures.curve import BEFORE_EDIT
from edit_lit.measures.outcome_files import FOLDER, read_probe, recorded_steps
from edit_lit.measures.outcomes import Outcomes, Pool
from edit_lit.measures.scores import Rule, TransitionCounts
from edit_lit.reports.metrics_file import read_downstream
from edit_lit.reports.notes import ending_note
from edit_lit.reports.run import Run
from edit_lit.reports.run_record import RunRecord, State
from edit_lit.reports.series_record import FILE, Cycle, SeriesRecord
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.run_files import DELTA, METRICS

ENDED = (State.FINISHED, State.DIVERGED)
"""How a cycle ends that is not run again."""


@dataclass(frozen=True)
class CycleResult:
    """What became of one cycle.

    Args:
        cycle: The cycle.
        run: Its run, with the outcomes of the unedited model, the baseline and the last probe only; none if it was
            never begun.
    """

    cycle: Cycle
    run: Run | None = None

    @classmethod
    def read(cls, folder: Path, cycle: Cycle) -> CycleResult:
        """Read a cycle from the folder of its series.

        Raises:
            ConfigError: If a file is damaged. The message names it.
        """
        own = folder / cycle.folder
        record = RunRecord.read(own)
        if record is None:
            return cls(cycle)
        delta = own / DELTA
        seconds = read_provenance(delta).diagnostics.get("seconds") if delta.exists() else None
        return cls(cycle, Run(own, _ends(own / FOLDER), read_downstream(own / METRICS), seconds, record))

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do: it finished or diverged."""
        segment = self.run.segment if self.run is not None else None
        return segment is not None and segment.state in ENDED

    @property
    def diverged(self) -> bool:
        """Whether it ended where its numbers did."""
        return self.run is not None and self.ended and self.run.diverged_at is not None

    @property
    def steps(self) -> int:
        """Optimizer steps taken."""
        return self.run.segment.step if self.run is not None and self.run.segment is not None else 0

    @property
    def counts(self) -> bool:
        """Whether it is in means: it ended, fine-tuned, and did not diverge."""
        return self.ended and not self.diverged and self.steps > 0

    @property
    def came_to_its_score(self) -> bool | None:
        """Whether it came to the score at which it was to stop; nothing if there was none."""
        return self.run.segment.came_to_its_score if self.run is not None and self.run.segment is not None else None

    def transitions(self, pool: Pool, rule: Rule) -> TransitionCounts | None:
        """What became of a pool's facts between the baseline and the last probe."""
        found = self.run.transitions(pool, rule) if self.run is not None else {}
        return list(found.values())[-1] if found else None

    def retention(self, pool: Pool, rule: Rule) -> float:
        """Share of a pool's facts that were right at the baseline and still are; NaN if none was."""
        counts = self.transitions(pool, rule)
        return math.nan if counts is None else counts.retention

    @property
    def text(self) -> str:
        """One line: its facts and what became of them."""
        if self.run is None or not self.ended:
            return f"{self.cycle.name} has not ended"
        ending = ending_note(self.run) or f"{self.steps} steps"
        counts = self.transitions(self.run.main_pool, Rule.EXACT)
        if self.diverged or counts is None:
            return f"{self.cycle.name}: {ending}"
        kept = f"{counts.stable} of {counts.baseline_successes} right facts kept"
        return f"{self.cycle.name}: {kept if counts.baseline_successes else 'no fact was made right'} (exact); {ending}"


@dataclass(frozen=True)
class Series:
    """A series of cycles.

    Args:
        folder: Its folder.
        results: What became of each cycle, in order.
        label: What it is called; the last two parts of its folder's path if not given.
    """

    folder: Path
    results: Sequence[CycleResult]
    label: str | None = None

    @classmethod
    def read(cls, folder: Path, label: str | None = None) -> Series:
        """Read a series' folder.

        Args:
            folder: Its folder.
            label: What it is called; the last two parts of the folder's path if not given.

        Raises:
            ConfigError: If it holds no series, or a file is damaged.
        """
        record = SeriesRecord.read(folder)
        if record is None:
            raise ConfigError(f"{folder} holds no {FILE}, so it is no series of cycles. Name the folder of one.")
        return cls(folder, [CycleResult.read(folder, cycle) for cycle in record.cycles], label)

    @property
    def name(self) -> str:
        """Its label, or the last two parts of the folder's path."""
        return self.label or "/".join(self.folder.resolve().parts[-2:])

    @property
    def counted(self) -> list[CycleResult]:
        """The cycles that are in means."""
        return [result for result in self.results if result.counts]

    @property
    def is_control(self) -> bool:
        """Whether nothing was edited."""
        return any(result.run is not None and result.run.is_control for result in self.results)

    @property
    def main_pool(self) -> Pool:
        """The facts under study: the edited ones, or in a control the same facts unedited."""
        return Pool.UNEDITED if self.is_control else Pool.EDITED

    def retentions(self, pool: Pool, rule: Rule) -> list[float]:
        """Retention in each cycle that counts and has one."""
        values = (result.retention(pool, rule) for result in self.counted)
        return [value for value in values if not math.isnan(value)]

    def differences(self, rule: Rule) -> list[float]:
        """Retention of the facts under study minus that of the intrinsic ones, in each cycle that has both."""
        pairs = ((one.retention(self.main_pool, rule), one.retention(Pool.INTRINSIC, rule)) for one in self.counted)
        return [mine - others for mine, others in pairs if not math.isnan(mine - others)]


def find_series(paths: Sequence[Path]) -> list[Path]:
    """The folders of all series in the given folders and below them."""
    return sorted({file.parent for path in paths for file in path.rglob(FILE)})


def _ends(folder: Path) -> dict[Pool, dict[int, Outcomes]]:
    """Outcomes by pool of the unedited model, of the baseline and of the last probe."""
    steps = recorded_steps(folder)
    tuned = [step for step in steps if step != BEFORE_EDIT]
    probes: dict[Pool, dict[int, Outcomes]] = {}
    for step in dict.fromkeys([*(step for step in steps if step == BEFORE_EDIT), *tuned[:1], *tuned[-1:]]):
        for pool, outcomes in read_probe(folder, step).items():
            probes.setdefault(pool, {})[step] = outcomes
    return probes
