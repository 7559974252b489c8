"""The order of a sweep's jobs: what several trials need is made once, before them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


def plan_jobs(
    folder: SweepFolder,
    trials: Sequence[PlannedTrial],
    threads: int = 1,
    environment: Mapping[str, str] | None = None,
    verb: str = "fit",
) -> dict[str, Node]:
    """The jobs that are left of a sweep, by key, each behind those that come before it.

    An edit that several trials need is a job of its own. Of the edits that need the same statistics of a corpus, one
    goes first and measures them, so that the others find them on the disk.

    Args:
        folder: The sweep's folder.
        trials: All trials; those that are done have no job.
        threads: How many threads a job may use.
        environment: What jobs find in their environment besides the worker's.
        verb: What trials are: ``fit`` or ``cycles``.
    """
    directory = Path.cwd()

    def job(place: Path, command: Sequence[str], resume: Sequence[str] = (), makes: Path | None = None) -> Job:
        return Job(place.absolute(), command, directory, threads, environment or {}, resume, makes)

    left = [trial for trial in trials if not job(folder.trial(trial.address), ()).status().stage.is_done]
    edits = {trial.edit: trial for trial in reversed(left) if trial.edit is not None}
    users = Counter(trial.edit for trial in left)
    edits_of = Counter(trial.statistics for trial in edits.values())
    nodes: dict[str, Node] = {}
    first_of: dict[str, str] = {}
    for address, trial in ((trial.edit, trial) for trial in left):
        if address is None or address in nodes or edits[address] is not trial:
            continue
        goes_first = trial.statistics is not None and trial.statistics not in first_of
        if users[address] == 1 and not (goes_first and edits_of[trial.statistics] > 1):
            continue
        place = folder.edit(address)
        makes = (place / DELTA_OF_EDIT).absolute()
        config = str((folder.trial(trial.address) / CONFIG_OF_TRIAL).absolute())
        made = job(place, ["edit", "--config", config, "--output", str(makes)], makes=makes)
        nodes[address] = Node(made, behind=first_of.get(trial.statistics or ""))
        if goes_first and trial.statistics is not None:
            first_of[trial.statistics] = address
    for trial in left:
        config = str((folder.trial(trial.address) / CONFIG_OF_TRIAL).absolute())
        run = job(folder.trial(trial.address), [verb, "--config", config], [verb, "--resume"])
        own_edit = trial.edit is not None and trial.edit not in nodes
        behind = first_of.get(trial.statistics or "") if own_edit else None
        nodes[trial.address] = Node(run, needs=trial.edit if trial.edit in nodes else None, behind=behind)
    return nodes
