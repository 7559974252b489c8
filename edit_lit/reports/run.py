"""A run read back from its folder: outcomes, downstream curves, its own record."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from edit_lit.deltas import read_provenance
from edit_lit.measures.answers import FOLDER as ANSWERS
from edit_lit.measures.answers import Answers, read_answers
from edit_lit.measures.curve import BEFORE_EDIT
from edit_lit.measures.fates import Fates, fates_of
from edit_lit.measures.outcome_files import FOLDER, read_names, read_probes
from edit_lit.measures.outcomes import Kind, Outcomes, Pool
from edit_lit.measures.question_files import FILE as QUESTIONS
from edit_lit.measures.question_files import AskedQuestion, read_questions
from edit_lit.measures.scores import Rule, TransitionCounts, diverged_step, transition_counts
from edit_lit.measures.seen_facts import read_seen
from edit_lit.reports.metrics_file import Series, read_downstream
from edit_lit.reports.run_record import FILE, RunRecord, Segment
from edit_lit.reports.series_record import FILE as SERIES
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.run_files import DELTA, METRICS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A run's outcomes and downstream scores, up to where its numbers end if it diverged.

    Args:
        folder: The run's folder.
        probes: Outcomes by pool and step.
        metrics: Curves of the downstream task by tag, each (step, value) in order.
        edit_seconds: How long the edit took when it was made; none if nothing was edited.
        record: What the run says of itself; none in a folder of an older version.
    """

    folder: Path
    probes: Mapping[Pool, Mapping[int, Outcomes]]
    metrics: Mapping[str, Series] = field(default_factory=dict)
    edit_seconds: float | None = None
    record: RunRecord | None = None

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Read a run's folder.

        Raises:
            ConfigError: If it holds no probe from after the edit, a series of cycles, or a file that is damaged. The
                message names it.
        """
        if (folder / SERIES).exists():
            raise ConfigError(f"{folder} is a series of cycles and no run. Name the folder of a cycle, or report it.")
        record = RunRecord.read(folder)
        if record is not None and not (folder / FOLDER).exists():
            raise ConfigError(f"{folder} is {record.last.state} and was never probed, so there is nothing to report.")
        delta = folder / DELTA
        seconds = read_provenance(delta).diagnostics.get("seconds") if delta.exists() else None
        run = cls(folder, read_probes(folder / FOLDER), read_downstream(folder / METRICS), seconds, record)
        if not run.curve(run.main_pool):
            why = (
                "its first answers are not numbers"
                if run.diverged_at is not None
                else "it ended before its first probe"
            )
            raise ConfigError(f"{folder} has no curve to report: {why} after the edit. Run it again.")
        return run

    @property
    def name(self) -> str:
        """The last two parts of the folder's path, such as ``quickstart/version_0``."""
        return "/".join(self.folder.resolve().parts[-2:])

    @property
    def main_pool(self) -> Pool:
        """The facts under study: the edited ones, or in a control run the same facts unedited."""
        return next((pool for pool in (Pool.EDITED, Pool.UNEDITED) if pool in self.probes), Pool.INTRINSIC)

    @property
    def is_control(self) -> bool:
        """Whether nothing was edited."""
        noted = self.segment is not None and self.segment.control is not None
        return noted or Pool.UNEDITED in self.probes

    @property
    def segment(self) -> Segment | None:
        """The stretch of the record that decides what became of the run."""
        return self.record.last if self.record is not None else None

    @cached_property
    def diverged_at(self) -> int | None:
        """The first step at which loss, weights or answers were not numbers; nothing if all were."""
        return min((step for step in (self._noted_divergence, self._seen_divergence) if step is not None), default=None)

    @property
    def _noted_divergence(self) -> int | None:
        return self.segment.diverged_at if self.segment is not None else None

    @cached_property
    def _seen_divergence(self) -> int | None:
        steps = (diverged_step(of_pool) for of_pool in self.probes.values())
        return min((step for step in steps if step is not None), default=None)

    @cached_property
    def last_step(self) -> int:
        """The step of the last probe whose answers are numbers."""
        return max(self.curve(self.main_pool))

    @property
    def downstream(self) -> dict[str, Series]:
        """Curves of the downstream task, without what came when the run had diverged."""
        end = self.diverged_at
        return {
            tag: kept
            for tag, points in self.metrics.items()
            if (kept := [point for point in points if end is None or point[0] < end])
        }

    def before(self, pool: Pool) -> Outcomes | None:
        """Outcomes of the unedited model."""
        return self.probes.get(pool, {}).get(BEFORE_EDIT)

    def curve(self, pool: Pool) -> dict[int, Outcomes]:
        """Outcomes from the baseline on, by step, as long as they are numbers."""
        noted, seen = self._noted_divergence, self._seen_divergence
        return {
            step: outcomes
            for step, outcomes in self.probes.get(pool, {}).items()
            if step != BEFORE_EDIT and (noted is None or step <= noted) and (seen is None or step < seen)
        }

    def transitions(
        self, pool: Pool, rule: Rule, kind: Kind = Kind.REWRITE, among: Tensor | None = None
    ) -> dict[int, TransitionCounts]:
        """What became of a pool's facts at each step since the baseline; of edited ones, those the edit made right.

        Args:
            pool: The pool.
            rule: The success rule.
            kind: Which prompts decide.
            among: Positions of the requests that are looked at; all if not given.
        """
        curve = {step: _among(outcomes, among) for step, outcomes in self.curve(pool).items()}
        if not curve:
            return {}
        baseline = next(iter(curve.values()))
        before = self.before(pool) if pool is Pool.EDITED else None
        if before is not None:
            before = _among(before, among)
        return {step: transition_counts(baseline, outcomes, rule, kind, before) for step, outcomes in curve.items()}

    @cached_property
    def seen_by_guards(self) -> dict[str, Tensor]:
        """Positions of the facts under study that a guard learnt from, and of the others; empty without such guards."""
        seen = read_seen(self.folder)
        if not seen:
            return {}
        facts = read_names(self.folder / FOLDER, [self.main_pool])[self.main_pool].fact
        known = torch.tensor([fact in seen for fact in facts])
        return {"seen": known.nonzero()[:, 0], "unseen": (~known).nonzero()[:, 0]}

    def fates(self, pool: Pool, rule: Rule) -> Fates | None:
        """What became of each of a pool's facts that count, also where the answers are no numbers any more.

        Up to ``last_step`` they are the facts that :meth:`transitions` counts.

        Returns:
            Nothing if the pool was not probed since the edit.
        """
        if not self.curve(pool):
            return None
        edited = pool is Pool.EDITED
        texts = {step: [one.text for one in of[pool]] for step, of in self.answers.items() if pool in of}
        return fates_of(
            {step: outcomes for step, outcomes in self.probes[pool].items() if step != BEFORE_EDIT},
            rule,
            before=self.before(pool) if edited else None,
            reverts=edited,
            texts=texts,
        )

    @cached_property
    def answers(self) -> dict[int, Answers]:
        """What the model answers in words by step and pool; empty where nobody asked."""
        return read_answers(self.folder / ANSWERS)

    @cached_property
    def questions(self) -> dict[Pool, list[AskedQuestion]]:
        """What was asked, as text; empty in a run of an earlier version."""
        return read_questions(self.folder / QUESTIONS) or {}


def _among(outcomes: Outcomes, requests: Tensor | None) -> Outcomes:
    return outcomes if requests is None else outcomes[torch.isin(outcomes.request, requests)]


@dataclass(frozen=True)
class FoundRuns:
    """Runs that were read, and what could not be.

    Args:
        runs: The runs, in the order of their paths.
        left_out: For each folder that was left out a line that says why.
    """

    runs: Sequence[Run]
    left_out: Sequence[str] = ()


def find_runs(paths: Sequence[Path], apart: Sequence[Path] = ()) -> FoundRuns:
    """All runs in the given folders and below them.

    Args:
        paths: The folders.
        apart: Folders that are left out with all below them, such as series of cycles.

    Raises:
        ConfigError: If there is none that can be read, unless something stands apart.
    """
    folders: list[Path] = []
    left_out: list[str] = []
    for path in paths:
        found = {file.parent for name in (FOLDER, FILE) for file in path.rglob(name)}
        known = bool(found)
        found = {folder for folder in found if not any(folder.is_relative_to(other) for other in apart)}
        folders += sorted(found - set(folders))
        if not known:
            left_out.append(f"{path} holds no run.")
    runs = []
    for folder in folders:
        try:
            runs.append(Run.read(folder))
        except ConfigError as error:
            left_out.append(str(error))
    if apart and not runs:
        return FoundRuns(runs, left_out)
    if not runs and len(left_out) == 1 and folders:
        raise ConfigError(left_out[0])
    if not runs:
        listed = ", ".join(str(path) for path in paths)
        why = f" {' '.join(left_out)}" if folders else ""
        raise ConfigError(
            f"no run with a {FOLDER} folder in {listed}.{why} Name the folder of a run, such as runs/quickstart."
        )
    return FoundRuns(runs, left_out)


def short_names(runs: Sequence[Run]) -> list[str]:
    """Names that tell runs apart: without the version where all have the same."""
    folders = [run.folder.resolve() for run in runs]
    if len({folder.name for folder in folders}) == 1 and len({folder.parent.name for folder in folders}) == len(runs):
        return [folder.parent.name for folder in folders]
    names = [run.name for run in runs]
    # Two folders of the same name at different places.
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]
