"""The verb ``sweep``: many runs, those that are missing."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jsonargparse import Namespace

from edit_lit.analysis.sweep_report import SweepOptions
from edit_lit.cli.messages import quiet_ray
from edit_lit.cli.resolving import OptionReader
from edit_lit.cli.verbs import report_of_sweep
from edit_lit.reports.environment import versions
from edit_lit.reports.terminal import print_table
from edit_lit.sweeps.address import Addresses, code_version
from edit_lit.sweeps.board import Board
from edit_lit.sweeps.folder import PlannedTrial, SweepFolder, TrialList
from edit_lit.sweeps.on_ray import carry_out_all, cluster, import_ray
from edit_lit.sweeps.plan import CONFIG_OF_TRIAL, Commands, Node, plan_jobs
from edit_lit.sweeps.status import Stage, Status
from edit_lit.sweeps.sweep_file import SweepFile
from edit_lit.sweeps.trials import Expansion, Trial, expand
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.locks import exclusive
from edit_lit.utilities.progress import progress, time_text
from edit_lit.utilities.run_files import LOCK, newest_run

log = logging.getLogger(__name__)

_HANDED_ON = ("XDG_CACHE_HOME", "HF_HOME", "HF_HUB_OFFLINE", "PYTHONPATH")
_WATCH_EVERY = 2.0
_PATIENCE = 120.0


@dataclass(frozen=True)
class Planned:
    """A sweep whose trials have their places.

    Args:
        file: The sweep as its file states it.
        expansion: Its trials, and how many are left out.
        trials: The same trials with their addresses.
        options: Their resolved options, in the same order.
    """

    file: SweepFile
    expansion: Expansion
    trials: Sequence[PlannedTrial]
    options: Sequence[Namespace]

    @property
    def listed(self) -> TrialList:
        """What the sweep's folder says of it."""
        axes = {axis.name: list(dict.fromkeys(choice.label for choice in axis.choices)) for axis in self.file.axes}
        return TrialList(self.file.name, axes, self.file.replicates, self.trials)


def sweep(config: str, output: str | None, address: str | None, cpus: int | None, dry_run: bool) -> None:
    """Carry out what is missing of a sweep.

    Args:
        config: The sweep file.
        output: The sweep's folder; ``runs/sweeps/`` and its name if not given.
        address: Address of a Ray cluster; one is started here if not given.
        cpus: Processors of this machine that Ray gets if it is started here; all if not given.
        dry_run: Say what would be done, and do nothing.
    """
    if cpus is not None and (cpus < 1 or address is not None):
        raise ConfigError(
            f"--cpus is {cpus}, but it is a number from 1 on, and of this machine. Leave it out with --address."
        )
    if not dry_run:
        import_ray()
    file = SweepFile.read(Path(config))
    folder = SweepFolder(Path(output) if output is not None else Path("runs", "sweeps", file.name))
    _check_folder(folder, file)
    reader = OptionReader(file.verb)
    planned = _plan(file, expand(file), reader, folder)
    if dry_run:
        _print_plan(planned, folder)
        return
    with folder.drive():
        for trial, options in zip(planned.trials, planned.options, strict=True):
            reader.write(options, folder.trial(trial.address) / CONFIG_OF_TRIAL)
        planned.listed.write(folder)
        statuses = _carry_out(planned, folder, address, cpus)
    if any(status.stage is Stage.FINISHED for status in statuses.values()):
        report_of_sweep([str(folder.path)], SweepOptions(), None)
    _end(planned.trials, statuses, folder)


def watch(config: str, output: str | None) -> None:
    """Show how a sweep stands until it ends.

    Args:
        config: The sweep file.
        output: The sweep's folder; ``runs/sweeps/`` and its name if not given.
    """
    name = SweepFile.read(Path(config)).name
    folder = SweepFolder(Path(output) if output is not None else Path("runs", "sweeps", name))
    listed = TrialList.read(folder)
    if listed is None:
        raise ConfigError(f"there is no sweep in {folder.path} yet. Start it without --watch.")
    board = Board(folder, listed.trials)
    with board.shown() as live:
        while folder.driven:
            board.show(live)
            time.sleep(_WATCH_EVERY)
    _end(listed.trials, board.statuses(driven=False), folder)


def _check_folder(folder: SweepFolder, file: SweepFile) -> None:
    listed = TrialList.read(folder)
    if listed is not None and listed.name != file.name:
        raise ConfigError(
            f"{folder.path} holds the sweep {listed.name!r}, not {file.name!r}. Name another folder with --output."
        )
    if listed is None and folder.path.is_dir() and any(folder.path.iterdir()):
        raise ConfigError(f"{folder.path} holds something else than a sweep. Name another folder with --output.")


def _plan(file: SweepFile, expansion: Expansion, reader: OptionReader, folder: SweepFolder) -> Planned:
    addresses = Addresses({**versions(), "code": code_version()})
    trials: list[PlannedTrial] = []
    resolved: list[Namespace] = []
    seen: dict[str, Trial] = {}
    for trial in progress(expansion.trials, "reading options", "trials"):
        try:
            options = reader.read(trial.parts)
        except ConfigError as error:
            raise ConfigError(f"trial {trial}: {error}") from error
        plain = options.as_dict()
        address = addresses.trial(plain)
        if address in seen:
            raise ConfigError(
                f"two trials are the same: {seen[address]}; and {trial}. Leave one out with 'exclude', or correct the "
                "axis that changes nothing."
            )
        seen[address] = trial
        options["name"] = f"trials/{address}"
        options["trainer.default_root_dir"] = str(folder.path.absolute())
        # A series makes its edits one by one.
        needs = () if file.verb == "cycles" else (addresses.edit(plain), addresses.statistics(plain))
        trials.append(PlannedTrial(address, trial.labels, *needs))
        resolved.append(options)
    return Planned(file, expansion, trials, resolved)


def _carry_out(planned: Planned, folder: SweepFolder, address: str | None, cpus: int | None) -> dict[str, Status]:
    resources = planned.file.resources
    environment = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
    nodes = plan_jobs(planned.trials, Commands(folder, planned.file.verb, resources.threads, environment))
    board = Board(folder, planned.trials, edits=[node.job for node in nodes.values() if node.job.makes is not None])
    if not nodes:
        return board.statuses()
    log.info("%s", _plan_line(planned, board.statuses()))
    _forget_failures(nodes)
    quiet_ray()
    try:
        with cluster(address, resources, cpus) as slots, board.shown() as live:
            board.slots = slots
            failed = carry_out_all(nodes, resources, planned.file.retries, lambda: board.show(live))
    except KeyboardInterrupt:
        _await_runs(planned.trials, folder)
        log.warning("the sweep stops: %s. The same command goes on.", board.line(board.statuses(driven=False)))
        raise
    _note_failures(planned.trials, nodes, failed, folder)
    return board.statuses(driven=False)


def _forget_failures(nodes: Mapping[str, Node]) -> None:
    """Let what failed before wait like the others, since it is tried again; its log stays."""
    for node in nodes.values():
        status = Status.read(node.job.folder)
        if status.stage is Stage.FAILED:
            replace(status, stage=Stage.WAITING, error=None).write(node.job.folder)


def _note_failures(
    trials: Sequence[PlannedTrial], nodes: Mapping[str, object], failed: Mapping[str, str], folder: SweepFolder
) -> None:
    """Let a trial say why it failed if its own process could not."""
    for trial in trials:
        place = folder.trial(trial.address)
        status = Status.read(place)
        if trial.address in failed and status.stage is not Stage.FAILED:
            own = trial.edit not in failed
            reason = failed[trial.address] if own else f"its edit could not be made: {failed[trial.edit or '']}"
            Status(Stage.FAILED, status.attempts, status.seconds, status.host, reason).write(place)


def _await_runs(trials: Sequence[PlannedTrial], folder: SweepFolder) -> None:
    """Wait for runs that were told to stop, until they have kept themselves."""
    until = time.monotonic() + _PATIENCE
    for trial in trials:
        run = newest_run(folder.trial(trial.address))
        if run is None:
            continue
        try:
            with exclusive(run / LOCK, max(0.0, until - time.monotonic())):
                pass
        except (TimeoutError, OSError):
            log.warning("%s still writes into %s", trial, run)


def _plan_line(planned: Planned, statuses: Mapping[str, Status]) -> str:
    done = sum(status.stage.is_done for status in statuses.values())
    line = f"{len(planned.trials)} trials, {done} of them done already"
    if planned.file.verb == "cycles":
        return f"{line}; each makes its own edits"
    return f"{line}; {len({trial.edit for trial in planned.trials if trial.edit is not None})} distinct edits"


def _print_plan(planned: Planned, folder: SweepFolder) -> None:
    board = Board(folder, planned.trials)
    statuses = board.statuses(driven=folder.driven)
    needed = dict.fromkeys(trial.edit for trial in planned.trials if trial.edit is not None)
    numbers = {address: str(number) for number, address in enumerate(needed, start=1)}
    rows = []
    for trial in planned.trials:
        own = "its own" if planned.file.verb == "cycles" else "none"
        edit = numbers[trial.edit] if trial.edit is not None else own
        rows.append((*trial.labels.values(), edit, str(statuses[trial.address].stage), trial.address))
    notes = [_plan_line(planned, statuses)]
    notes += [f"{count} left out: {reason}" for reason, count in planned.expansion.left_out.items()]
    notes.append(_estimate(planned, statuses))
    print_table(planned.file.name, (*planned.listed.axes, "edit", "stage", "address"), rows, notes)


def _estimate(planned: Planned, statuses: Mapping[str, Status]) -> str:
    took = [status.seconds for status in statuses.values() if status.stage.is_done and status.seconds]
    left = sum(not status.stage.is_done for status in statuses.values())
    if not took or not left:
        return "no estimate of the time: no trial has finished yet" if left else "nothing is left to do"
    slots = max(1, int((os.cpu_count() or 1) / planned.file.resources.cpus))
    seconds = left * sum(took) / len(took) / slots
    return f"about {time_text(seconds)} left with {slots} at once, by {len(took)} trials that are done"


def _end(trials: Sequence[PlannedTrial], statuses: Mapping[str, Status], folder: SweepFolder) -> None:
    """Say what came out; a sweep that is not whole ends with status 1."""
    for trial in trials:
        status = statuses[trial.address]
        if status.stage is Stage.FAILED:
            log.error("%s failed: %s (%s)", trial, status.error, folder.trial(trial.address))
    log.info("%s", Board(folder, trials).line(statuses))
    if not all(status.stage.is_done for status in statuses.values()):
        sys.exit(1)
