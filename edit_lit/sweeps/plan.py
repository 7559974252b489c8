"""The order of a sweep's jobs: what several trials need is made once, before them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edit_lit.sweeps.folder import PlannedTrial, SweepFolder
from edit_lit.sweeps.jobs import Job

CONFIG_OF_TRIAL = "trial.yaml"
DELTA_OF_EDIT = "delta.safetensors"


@dataclass(frozen=True)
class Node:
    """A job and what comes before it.

    Args:
        job: The job.
        needs: Key of the job whose result it needs; it does not start if that fails.
        behind: Key of the job that is to end first, well or not.
    """

    job: Job
    needs: str | None = None
    behind: str | None = None


@dataclass(frozen=True)
class Commands:
    """The commands of a sweep's jobs.

    Args:
        folder: The sweep's folder.
        verb: What trials are: ``fit`` or ``cycles``.
        threads: How many threads a job may use.
        environment: What jobs find in their environment besides the worker's.
        directory: The directory from which paths in their options lead.
    """

    folder: SweepFolder
    verb: str = "fit"
    threads: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path = field(default_factory=Path.cwd)

    def trial(self, trial: PlannedTrial) -> Job:
        """Run a trial, or go on with it."""
        place = self.folder.trial(trial.address).absolute()
        command = [self.verb, "--config", self._config(trial)]
        return Job(place, command, self.directory, self.threads, self.environment, [self.verb, "--resume"])

    def edit(self, trial: PlannedTrial, address: str) -> Job:
        """Make the edit of a trial, which others need as well."""
        place = self.folder.edit(address).absolute()
        makes = place / DELTA_OF_EDIT
        command = ["edit", "--config", self._config(trial), "--output", str(makes)]
        return Job(place, command, self.directory, self.threads, self.environment, makes=makes)

    def _config(self, trial: PlannedTrial) -> str:
        return str((self.folder.trial(trial.address) / CONFIG_OF_TRIAL).absolute())


def plan_jobs(trials: Sequence[PlannedTrial], commands: Commands) -> dict[str, Node]:
    """The jobs that are left of a sweep, by key, each behind those that come before it.

    An edit that several trials need is a job of its own. Of the edits that need the same statistics of a corpus, one
    goes first and measures them, so that the others find them on the disk.

    Args:
        trials: All trials; those that are done have no job.
        commands: Their commands.
    """
    left = [trial for trial in trials if not commands.trial(trial).status().stage.is_done]
    nodes, first_of = _edits(left, commands)
    for trial in left:
        shared = trial.edit in nodes
        # One that makes its own edit finds the statistics there.
        behind = first_of.get(trial.statistics) if trial.edit is not None and not shared else None
        nodes[trial.address] = Node(commands.trial(trial), trial.edit if shared else None, behind)
    return nodes


def _edits(left: Sequence[PlannedTrial], commands: Commands) -> tuple[dict[str, Node], dict[str | None, str]]:
    """The edits that are jobs of their own, and the one that goes first for each corpus' statistics."""
    maker_of: dict[str, PlannedTrial] = {}
    for trial in left:
        if trial.edit is not None:
            maker_of.setdefault(trial.edit, trial)
    users = Counter(trial.edit for trial in left)
    edits_of = Counter(trial.statistics for trial in maker_of.values())
    nodes: dict[str, Node] = {}
    first_of: dict[str | None, str] = {}
    for address, trial in maker_of.items():
        goes_first = trial.statistics is not None and trial.statistics not in first_of
        if users[address] > 1 or (goes_first and edits_of[trial.statistics] > 1):
            nodes[address] = Node(commands.edit(trial, address), behind=first_of.get(trial.statistics))
            if goes_first:
                first_of[trial.statistics] = address
    return nodes, first_of
