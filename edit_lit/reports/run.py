"""A run read back from its folder: outcomes, downstream curves, seconds of the edit."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edit_lit.deltas import read_provenance
from edit_lit.measures.curve import BEFORE_EDIT
from edit_lit.measures.outcome_files import FOLDER, read_probes
from edit_lit.measures.outcomes import Kind, Outcomes, Pool
from edit_lit.measures.scores import Rule, TransitionCounts, transition_counts
from edit_lit.utilities.errors import ConfigError

Series = list[tuple[int, float]]


@dataclass(frozen=True)
class Run:
    """A run's outcomes and downstream scores.

    Args:
        folder: The run's folder.
        probes: Outcomes by pool and step.
        downstream: Curves of the downstream task by tag, each (step, value) in order.
        edit_seconds: How long the edit took when it was made; none if nothing was edited.
    """

    folder: Path
    probes: Mapping[Pool, Mapping[int, Outcomes]]
    downstream: Mapping[str, Series]
    edit_seconds: float | None = None

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Read a run's folder.

        Raises:
            ConfigError: If it holds no probe records.
        """
        delta = folder / "edits" / "delta.safetensors"
        seconds = read_provenance(delta).diagnostics.get("seconds") if delta.exists() else None
        return cls(folder, read_probes(folder / FOLDER), _read_downstream(folder / "metrics.csv"), seconds)

    @property
    def name(self) -> str:
        """The last two parts of the folder's path, such as ``quickstart/version_0``."""
        return "/".join(self.folder.resolve().parts[-2:])

    @property
    def main_pool(self) -> Pool:
        """The facts under study: the edited ones, or in a control run the same facts unedited."""
        return Pool.EDITED if Pool.EDITED in self.probes else Pool.UNEDITED

    def before(self, pool: Pool) -> Outcomes | None:
        """Outcomes of the unedited model."""
        return self.probes.get(pool, {}).get(BEFORE_EDIT)

    def curve(self, pool: Pool) -> dict[int, Outcomes]:
        """Outcomes from the baseline on, by step."""
        return {step: outcomes for step, outcomes in self.probes.get(pool, {}).items() if step != BEFORE_EDIT}

    def transitions(self, pool: Pool, rule: Rule, kind: Kind = Kind.REWRITE) -> dict[int, TransitionCounts]:
        """What became of a pool's facts at each step since the baseline."""
        curve = self.curve(pool)
        if not curve:
            return {}
        baseline = next(iter(curve.values()))
        return {step: transition_counts(baseline, outcomes, rule, kind) for step, outcomes in curve.items()}


def find_runs(paths: list[Path]) -> list[Run]:
    """All runs in the given folders and below them, in the order of their paths.

    Raises:
        ConfigError: If there is none.
    """
    folders = sorted({records.parent for path in paths for records in [*path.rglob(FOLDER)]})
    if not folders:
        listed = ", ".join(str(path) for path in paths)
        raise ConfigError(
            f"no run with a {FOLDER} folder in {listed}. Name the folder of a run, such as runs/quickstart."
        )
    return [Run.read(folder) for folder in folders]


def short_names(runs: Sequence[Run]) -> list[str]:
    """Names that tell runs apart: without the version where all have the same."""
    folders = [run.folder.resolve() for run in runs]
    if len({folder.name for folder in folders}) == 1:
        return [folder.parent.name for folder in folders]
    return [run.name for run in runs]


def _read_downstream(path: Path) -> dict[str, Series]:
    if not path.exists():
        return {}
    series: dict[str, Series] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for tag, value in row.items():
                if tag.startswith("downstream/") and value:
                    series.setdefault(tag.removeprefix("downstream/"), []).append((int(row["step"]), float(value)))
    return {tag: sorted(points) for tag, points in series.items()}
