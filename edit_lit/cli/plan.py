"""Which folder a command's run has, and which earlier run it goes on with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from callbacks.slurm import job_id, was_requeued
from edit_lit.cli.mistakes import mistake_behind
from edit_lit.cli.resume import EarlierRun
from edit_lit.reports.series_record import FILE as SERIES
from edit_lit.run_folder import new_run_folder
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.run_files import CONFIG, newest_run

log = logging.getLogger(__name__)

Options = Mapping[str, Any]
"""Options by dotted name."""

NEWEST = "last"
_KEPT = ("model", "data", "edit", "seed_everything", "ckpt_path")
_KEPT_IN_SERIES = ("trainer", "retention", "facts_per_cycle", "same_seed")
_FREE = (
    "data.num_workers",
    "trainer.default_root_dir",
    "trainer.enable_progress_bar",
    "trainer.logger",
    "trainer.profiler",
)


@dataclass(frozen=True)
class Plan:
    """Where a run is kept, and what it goes on with.

    Args:
        folder: The run's folder.
        continues: Whether the folder was made by an earlier command, whose run goes on in it.
        earlier: The run whose checkpoint or edit it goes on from, if any.
        limits: The options that say when training ends.
        taken: Whether this process has just made the folder.
    """

    folder: Path
    continues: bool = False
    earlier: EarlierRun | None = None
    limits: Options = field(default_factory=dict)
    taken: bool = False

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.continues and self.earlier is not None and self.earlier.finished(self.limits)


def find_earlier(
    options: Options, stored: Callable[[Path], Options], of_series: bool = False
) -> tuple[Path | None, EarlierRun | None]:
    """The folder of the run that a command goes on with, and the run from whose checkpoint it starts.

    Args:
        options: The command's options.
        stored: Gives the options of a run by the path of its config.
        of_series: Whether it is a series of cycles that the command goes on with.

    Raises:
        ConfigError: If there is no such run, or its options differ from the command's where they must not.
    """
    checkpoint = options.get("ckpt_path")
    runs = Path(options["trainer.default_root_dir"], options["name"])
    folder = None
    if options["resume"] is not None:
        folder = Path(options["resume"])
    elif checkpoint == NEWEST:
        folder = newest_run(runs)
        if folder is None:
            log.info("there is no run in %s yet, so this is the first", runs)
            return None, None
    elif checkpoint is None and was_requeued():
        folder = newest_run(runs, f"job_{job_id()}")
    if folder is None:
        if checkpoint is None or "://" in checkpoint:
            return None, None
        return None, EarlierRun.at(Path(checkpoint))
    run = EarlierRun.in_folder(folder)
    if (folder / SERIES).exists() != of_series:
        verb, is_one = ("fit", "no") if of_series else ("cycles", "a")
        raise ConfigError(f"{folder} is {is_one} series of cycles. Go on with it by the verb {verb}.")
    before = stored(folder / CONFIG)
    _check_unchanged(folder, before, options, (*_KEPT, *_KEPT_IN_SERIES) if of_series else _KEPT)
    if run.checkpoint is None and before.get("ckpt_path"):
        # It was itself started from another run's checkpoint, and has none of its own yet.
        return folder, EarlierRun.at(Path(before["ckpt_path"]))
    return folder, run


def plan_run(options: Options, folder: Path | None, earlier: EarlierRun | None, first_process: bool) -> Plan:
    """Where the run is kept; a new folder is taken for a new one.

    Args:
        options: The command's options.
        folder: The folder of the run that the command goes on with, if any.
        earlier: The run from whose checkpoint it starts, if any.
        first_process: Whether this process takes the folder; the others learn it from that one.

    Raises:
        ConfigError: If the folder cannot be made.
    """
    limits = {name: options.get(f"trainer.{name}") for name in ("max_steps", "max_epochs", "max_time")}
    if folder is not None:
        return Plan(folder, True, earlier, limits)
    root, name = options["trainer.default_root_dir"], options["name"]
    new = new_run_folder(root, name, job_id()) if first_process else Path(root, name)
    return Plan(new, False, earlier, limits, taken=first_process)


def flat_options(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of a nested config by dotted name."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flat_options(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _check_unchanged(run: Path, before: Options, now: Options, kept: Sequence[str]) -> None:
    for name in sorted(before.keys() | now.keys()):
        # `last` is how the run was found.
        same = before.get(name) == now.get(name) or (name == "ckpt_path" and now.get(name) == NEWEST)
        if name.split(".")[0] in kept and name not in _FREE and not same:
            more = ", its trainer and its probes" if kept != _KEPT else ""
            raise ConfigError(
                f"{name} is {now.get(name)!r}, but the run in {run} was started with {before.get(name)!r}. "
                f"A resumed run keeps its model, data, edit and seed{more}; start a new run instead."
            )


@contextmanager
def naming_directory(earlier: EarlierRun | None) -> Iterator[None]:
    """Let a mistake in a resumed run's options name the directory in which that was started, if it is another one."""
    try:
        yield
    except Exception as error:
        mistake, directory = mistake_behind(error), earlier.elsewhere() if earlier is not None else None
        if mistake is None or directory is None:
            raise
        raise ConfigError(
            f"{mistake} The run was started in {directory}, from where the relative paths in its config lead: "
            "resume it there."
        ) from error
