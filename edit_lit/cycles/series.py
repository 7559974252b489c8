"""A series of cycles on one loaded model, each of which starts from the same bits."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import lightning as L

from edit_lit.cycles.plan import check_size, plan_cycles
from edit_lit.data_module import EditDataModule
from edit_lit.fine_tuner import FineTuner
from edit_lit.language_model.fingerprint import model_fingerprint
from edit_lit.reports.environment import commit, versions
from edit_lit.reports.run_record import RunRecord, Segment, State
from edit_lit.reports.series import ENDED, CycleResult
from edit_lit.reports.series_record import Cycle, SeriesRecord
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.progress import time_text
from edit_lit.utilities.seeds import global_seed

log = logging.getLogger(__name__)


class Series:
    """Edits some facts, fine-tunes, asks about them and goes back to the model as it was, time and again.

    Model, tokenizer, task, intrinsic facts and key covariance are loaded and measured once. Each cycle is a run of its
    own in ``cycle_<number>/``, with a fresh Trainer and a seed of its own: that of the series plus the cycle's number,
    from which the order of training examples, an adapter's first weights and dropout follow. It does not hang on
    which cycles ran before. Those that have ended, finished or diverged, are not run again.

    Args:
        module: The module, which nothing was done to yet.
        data: Its data, with a source of edits.
        folder: The folder of the series.
        make_trainer: Makes a Trainer that runs in a folder; its callbacks edit, ask and keep the run's record.
        facts_per_cycle: Facts that are edited together in a cycle.
        same_seed: Give all cycles the seed of the series, so that they train on the same batches in the same order.

    Raises:
        ConfigError: If the facts cannot be shared out among cycles, there is no seed, a model would be exported from
            every cycle, or the folder holds another series.
    """

    def __init__(
        self,
        module: FineTuner,
        data: EditDataModule,
        folder: Path,
        make_trainer: Callable[[Path], L.Trainer],
        facts_per_cycle: int = 1,
        same_seed: bool = False,
    ) -> None:
        check_size(facts_per_cycle)
        seed = global_seed()
        if seed is None:
            raise ConfigError("cycles need a seed, so that each can be run again. Set seed_everything to a number.")
        if module.export:
            raise ConfigError("model.export is true, which would write a model in every cycle. Set it to false.")
        self.module, self.data, self.folder, self.make_trainer = module, data, folder, make_trainer
        self.seed = seed
        self.record = plan_cycles(data.load_edits(), facts_per_cycle, seed, same_seed)
        earlier = SeriesRecord.read(folder)
        if earlier is not None and earlier != self.record:
            raise ConfigError(
                f"the series in {folder} has other facts, other seeds or another facts_per_cycle than this one. Go on "
                "with its own config, or start a new series."
            )
        self._start: str | None = None
        self._ended = 0

    def run(self, numbers: Sequence[int] | None = None) -> None:
        """Run the cycles that have not ended yet.

        Args:
            numbers: Those to run; all of them if not given.

        Raises:
            ConfigError: If there is no cycle of a number, a cycle needs several processes, or the model could not be
                brought back to where it was.
        """
        chosen = self._chosen(numbers)
        self.record.write(self.folder)
        self._ended = sum(map(self._has_ended, self.record.cycles))
        segments = [*_earlier(self.folder), self._segment()]
        self._note(segments)
        try:
            self._run_all(chosen, segments)
        except BaseException as error:
            stopped = isinstance(error, (KeyboardInterrupt, SystemExit))
            text = f"{type(error).__name__}: {error}".strip(": ").split("\n")[0]
            self._note(segments, State.INTERRUPTED if stopped else State.FAILED, text)
            raise
        missing = len(self.record.cycles) - self._ended
        short = f"{missing} of {len(self.record.cycles)} cycles are left to run"
        self._note(segments, State.INTERRUPTED if missing else State.FINISHED, short if missing else None)

    def _chosen(self, numbers: Sequence[int] | None) -> list[Cycle]:
        cycles = list(self.record.cycles)
        if numbers is None:
            return cycles
        for number in numbers:
            if not 0 <= number < len(cycles):
                raise ConfigError(f"numbers holds {number}, but there are {len(cycles)} cycles, from 0 on.")
        return [cycles[number] for number in sorted(set(numbers))]

    def _run_all(self, chosen: Sequence[Cycle], segments: list[Segment]) -> None:
        waiting = [cycle for cycle in chosen if not self._has_ended(cycle)]
        if len(waiting) < len(chosen):
            log.info(
                "%d of %d cycles have ended already and are not run again", len(chosen) - len(waiting), len(chosen)
            )
        started = time.monotonic()
        for done, cycle in enumerate(waiting, start=1):
            self._run_one(cycle)
            self._ended += 1
            self._note(segments)
            left = (time.monotonic() - started) / done * (len(waiting) - done)
            about = f"; about {time_text(left)} left" if done < len(waiting) else ""
            log.info("%d of %d: %s%s", done, len(waiting), CycleResult.read(self.folder, cycle).text, about)

    def _run_one(self, cycle: Cycle) -> None:
        """Edit, fine-tune, ask, and go back."""
        folder = self.folder / cycle.folder
        # What a cycle that was cut off has left.
        shutil.rmtree(folder, ignore_errors=True)
        # Facts, task and intrinsic facts are chosen by the seed of the series, whichever cycle comes first.
        L.seed_everything(self.seed, workers=True, verbose=False)
        self.data.choose(cycle.positions)
        self.module.resettable = True
        trainer = self.make_trainer(folder)
        if trainer.world_size > 1:
            raise ConfigError(
                f"trainer.devices is {trainer.num_devices}, for {trainer.world_size} processes, but cycles run in one. "
                "Set it to 1."
            )
        if self._start is None:
            self._start = model_fingerprint(self.module.language_model.model)
        _callbacks(trainer).insert(0, _Seed(cycle.seed))
        try:
            trainer.fit(self.module, datamodule=self.data)
        except ConfigError as error:
            raise ConfigError(f"{cycle.name}: {error}") from error
        finally:
            self.module.reset()
            self.data.choose(None)
            L.seed_everything(self.seed, workers=True, verbose=False)
        if model_fingerprint(self.module.language_model.model) != self._start:
            raise ConfigError(
                f"behind {cycle.name} the model is not what it was before: something else than edit and tuning has "
                "changed its weights, such as a callback. Run such cycles one by one with fit."
            )

    def _has_ended(self, cycle: Cycle) -> bool:
        record = RunRecord.read(self.folder / cycle.folder)
        return record is not None and record.last.state in ENDED

    def _segment(self) -> Segment:
        return Segment(
            started=_now(),
            command=list(sys.argv),
            versions=versions(),
            commit=commit(),
            seeds={"seed_everything": self.seed},
            hashes={"edits": self.record.edits},
            start_step=self._ended,
            steps_planned=len(self.record.cycles),
        )

    def _note(self, segments: list[Segment], state: State = State.RUNNING, error: str | None = None) -> None:
        """Write the record of the series, whose steps are cycles."""
        ended = None if state is State.RUNNING else _now()
        last = replace(segments[-1], step=self._ended, state=state, error=error, ended=ended)
        RunRecord([*segments[:-1], last]).write(self.folder)


class _Seed(L.Callback):
    """Seeds a cycle behind the choice of data, and before its edit."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        L.seed_everything(self.seed, workers=True, verbose=False)


def _earlier(folder: Path) -> list[Segment]:
    record = RunRecord.read(folder)
    return [*record.segments] if record is not None else []


def _callbacks(trainer: L.Trainer) -> list[L.Callback]:
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined] # set by a connector
    return callbacks


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
