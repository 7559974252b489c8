"""The Trainer of the command line: a run folder of its own, and the verb ``edit``."""

from __future__ import annotations

import logging
import shutil
import signal
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import SaveConfigCallback

from callbacks import KnowledgeEdit, RunCheckpoint, RunReport
from callbacks.interruption import SIGNALS, Interrupted
from callbacks.knowledge_edit import KeptEdit, report_diagnostics
from callbacks.run_checkpoint import LastCheckpoint
from callbacks.slurm import job_id, requeue
from edit_lit.cli.cycles import MakeTrainer, run_cycles
from edit_lit.cli.plan import Plan, naming_directory
from edit_lit.cli.resume import EarlierRun, bring_back, note_end
from edit_lit.cycles import Series
from edit_lit.data_module import EditDataModule
from edit_lit.fine_tuner import FineTuner
from edit_lit.measures.probe import Probe
from edit_lit.reports.table import HEADER, Row, score_rows
from edit_lit.reports.terminal import print_table
from edit_lit.run_folder import discard_if_unused, hold
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.run_files import DELTA

log = logging.getLogger(__name__)

C = TypeVar("C", bound=L.Callback)


class EditTrainer(L.Trainer):
    """Lightning's Trainer with a folder of the run's own, which can also stop after the edit.

    Attributes:
        folder: The run's folder. The first process's counts; the others learn it from that one.
    """

    folder: Path | None = None
    _agreed: str | None = None
    _plan: Plan | None = None
    _make_trainer: MakeTrainer | None = None

    @property
    def log_dir(self) -> str | None:
        """The run's folder, whatever loggers there are; all processes must ask together."""
        if self.folder is None:
            return super().log_dir
        if self._agreed is None:
            self._agreed = self.strategy.broadcast(str(self.folder))
        return self._agreed

    def follow(self, plan: Plan | None, earlier: EarlierRun | None, keeps_checkpoints: bool) -> None:
        """Keep to what the command line found out.

        Args:
            plan: Where the run is kept; none if the verb makes no run.
            earlier: The run whose checkpoint is loaded, if any.
            keeps_checkpoints: Whether the run is kept so that it can be gone on with.
        """
        self._plan, self.folder = plan, plan.folder if plan is not None else None
        checkpoint = self._one(RunCheckpoint)
        checkpoint.enabled = keeps_checkpoints
        self._put_around(checkpoint, self._listed)
        if earlier is not None and earlier.delta is not None:
            self._one(KnowledgeEdit).kept = KeptEdit(earlier.delta, earlier.edit)
        if plan is not None and not plan.continues and earlier is not None:
            checkpoint.earlier_scores = earlier.downstream

    def lead_series(self, plan: Plan, make_trainer: MakeTrainer) -> None:
        """Lead a series of cycles, each of which has a Trainer of its own.

        Args:
            plan: Where the series is kept.
            make_trainer: Makes another Trainer of the same options, which runs in a folder of the series.
        """
        self._plan, self.folder, self._make_trainer = plan, plan.folder, make_trainer

    def follow_series(self, folder: Path) -> None:
        """Run one cycle of a series: its config and its report are those of the series, and it is kept when it ends.

        Args:
            folder: The cycle's folder.
        """
        self.folder, checkpoint = folder, self._one(RunCheckpoint)
        checkpoint.enabled = False
        of_series = (SaveConfigCallback, RunReport)
        self._put_around(checkpoint, [one for one in self._listed if not isinstance(one, of_series)])

    def _put_around(self, checkpoint: RunCheckpoint, callbacks: Sequence[L.Callback]) -> None:
        """Let a run be kept before any other callback begins with the next step, and behind all of them at its end."""
        others = [callback for callback in callbacks if callback is not checkpoint]
        others.sort(key=lambda callback: not isinstance(callback, SaveConfigCallback))
        self._listed[:] = [checkpoint, *others, LastCheckpoint(checkpoint)]

    def fit(self, *args: Any, **kwargs: Any) -> None:
        """Fit as Lightning does; checkpoints that name no folder go into the run's.

        Raises:
            Interrupted: If the run was asked to stop; by then it is kept, and has been reported.
        """
        for callback in self.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None and self.folder is not None:
                callback.dirpath = str(self.folder / "checkpoints")
        if self._plan is None:
            super().fit(*args, **kwargs)
            return
        plan, first = self._plan, self.is_global_zero
        with naming_directory(plan.earlier), hold(plan.folder) if first else nullcontext():
            if first and plan.continues:
                bring_back(plan.folder, plan.earlier)
            try:
                with self._one(RunCheckpoint).interruption.listening(SIGNALS if job_id() else SIGNALS[:2]):
                    super().fit(*args, **kwargs)
            except Interrupted as interrupted:
                if not first:
                    # The first process's status is that of the run; Lightning kills it if another one's is not 0.
                    raise SystemExit(0) from interrupted
                self._say_how_to_go_on(plan, interrupted.signum)
                raise
            except (ConfigError, MisconfigurationException):
                if plan.taken:
                    discard_if_unused(plan.folder)
                raise
            # A run that diverged is at no end of its own; it can be gone on with from before that.
            if first and not (isinstance(model := self.lightning_module, FineTuner) and model.gave_up):
                note_end(plan.folder, self.global_step, plan.limits)

    def validate(self, *args: Any, verbose: bool = True, **kwargs: Any) -> Any:
        """Validate as Lightning does, and print the scores; Lightning itself prints only what a logger gets.

        Args:
            args: See Lightning.
            verbose: Print the scores.
            kwargs: See Lightning.
        """
        kwargs["verbose"] = False
        scores = super().validate(*args, **kwargs)
        if verbose and self.is_global_zero:
            rows: list[Row] = [(tag, f"{float(value):.4f}") for tag, value in sorted(self.callback_metrics.items())]
            print_table("The downstream task", ("", "validation"), rows)
        return scores

    def _say_how_to_go_on(self, plan: Plan, signum: int) -> None:
        name, step = signal.Signals(signum).name, self._one(RunCheckpoint).saved_step
        if signum == signal.SIGUSR1:
            requeue()
        if plan.taken and step is None and not (plan.folder / DELTA).exists():
            discard_if_unused(plan.folder)
            log.warning("%s before the edit was made: nothing is kept of this run but what was cached", name)
            return
        where = f"behind step {step}, where it is kept" if step is not None else "and has no checkpoint, but its edit"
        log.warning("%s: the run stops %s; resume with: python -m edit_lit fit --resume %s", name, where, plan.folder)

    @property
    def _listed(self) -> list[L.Callback]:
        callbacks: list[L.Callback] = self.callbacks  # type: ignore[attr-defined] # set by a connector
        return callbacks

    def _one(self, kind: type[C]) -> C:
        """The one callback of a kind, of which the command line makes one."""
        (found,) = (callback for callback in self._listed if isinstance(callback, kind))
        return found

    def edit(
        self,
        model: FineTuner,
        datamodule: EditDataModule,
        output: str = "delta.safetensors",
        export: str | None = None,
    ) -> None:
        """Edit the model, print the scores, and write the Delta and, if asked, the edited model.

        Args:
            model: The module whose language model is edited.
            datamodule: Knows the facts to edit.
            output: Where the Delta is written.
            export: Folder for the edited model in Hugging Face's format, if wanted.

        Raises:
            ConfigError: If there are no facts to edit, or the results cannot be written there.
        """
        knowledge_edit = self._one(KnowledgeEdit)
        language_model = model.language_model.to(self.strategy.root_device)
        if datamodule.edits is None:
            raise ConfigError("data.edits is not given. Name a source of facts to edit.")
        if Path(output).is_dir():
            raise ConfigError(f"--output is {output}, which is a folder. Name a file, such as delta.safetensors.")
        if export is not None and Path(export).is_file():
            raise ConfigError(f"--export is {export}, which is a file. Name a folder.")
        requests = datamodule.edits.load()
        probe = Probe(requests, language_model.tokenizer)
        probe.check(language_model)
        delta = knowledge_edit.delta_for(language_model, requests)
        report_diagnostics(delta, language_model, len(requests))
        before = probe.run(language_model)
        delta.apply(language_model)
        print_table("The edit", HEADER, score_rows([before, probe.run(language_model)]))
        knowledge_edit.save(delta, Path(output))
        log.info("the Delta is in %s", output)
        if export is not None:
            model.save_pretrained(Path(export))

    def cycles(
        self,
        model: FineTuner,
        datamodule: EditDataModule,
        facts_per_cycle: int = 1,
        same_seed: bool = False,
        numbers: list[int] | None = None,
    ) -> None:
        """For each fact: edit it alone, fine-tune, ask, and go back to the model as it was; then pool the cycles.

        Args:
            model: The module whose language model is edited.
            datamodule: Knows the facts to edit.
            facts_per_cycle: Facts that are edited together in a cycle.
            same_seed: Give all cycles the seed of the series, instead of one more for each.
            numbers: The cycles to run, from 0 on; all that have not ended yet if not given.

        Raises:
            ConfigError: If the facts make no cycles, or the folder holds another series.
        """
        assert self._plan is not None
        assert self._make_trainer is not None
        folder = self._plan.folder
        try:
            series = Series(model, datamodule, folder, self._make_trainer, facts_per_cycle, same_seed)
            for callback in self._listed:
                if isinstance(callback, SaveConfigCallback):
                    callback.save_config(self, model, "fit")
            run_cycles(series, self._one(RunCheckpoint), numbers)
        except ConfigError:
            if self._plan.taken and not any(folder.glob("cycle_*/retention.parquet")):
                shutil.rmtree(folder, ignore_errors=True)
                discard_if_unused(folder)
            raise
