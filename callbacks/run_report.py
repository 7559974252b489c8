"""The answer at the end of a run: a table, a figure and a row of hyper-parameters."""

from __future__ import annotations

import warnings
from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from typing import Literal

import lightning as L
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from callbacks.to_loggers import log_figure, log_lines, log_table, log_text
from edit_lit.attribution.file import read_attribution
from edit_lit.measures.outcome_files import FOLDER
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import Rule, half_life
from edit_lit.pages.run_page import write_run_page
from edit_lit.reports.causes_figure import causes_figure
from edit_lit.reports.charts import chart_lines, points_of
from edit_lit.reports.escaping import markdown_code
from edit_lit.reports.figure import decay_figure
from edit_lit.reports.lost_facts import LOST_HEADER, lost_facts
from edit_lit.reports.notes import run_notes
from edit_lit.reports.report import fate_figures, notes_markdown, report_run
from edit_lit.reports.run import Run
from edit_lit.reports.run_record import State
from edit_lit.reports.table import run_header, run_table
from edit_lit.reports.tensorboard import AT_END, ending_summary, hyperparameters_summary
from edit_lit.reports.terminal import print_run
from edit_lit.run_folder import run_folder
from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.run_files import CONFIG


class RunReport(L.Callback):
    """Prints the table, writes ``report/`` and completes the loggers' pages when training ends or is interrupted.

    TensorBoard, W&B and MLflow get the figures, the table, the lost facts and the config. TensorBoard's row of
    hyper-parameters has those that its logger was given with ``log_hyperparams``. List it after ``RunRecorder``: it
    tells how the run ended.

    Args:
        rule: The success rule of the figures, of what became of the facts and of the half-life.
    """

    def __init__(self, rule: Literal["prob", "exact", "first"] = "exact") -> None:
        self.rule = Rule(rule)
        self._folder: Path | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take note of the folder, also where nothing is left to train and only the report was cut off."""
        self._folder = run_folder(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the loggers the config, and TensorBoard the run's hyper-parameters, so that a running run has them."""
        if distributed.rank() > 0 or self._folder is None:
            return
        config = self._folder / CONFIG
        for logger in trainer.loggers:
            if config.exists():
                log_text(logger, "config", markdown_code(config.read_text(encoding="utf-8")), trainer.global_step)
            if isinstance(logger, TensorBoardLogger):
                values = dict(vars(logger.hparams) if isinstance(logger.hparams, Namespace) else logger.hparams)
                summary = hyperparameters_summary(values, str(logger.log_dir))
                logger.experiment.file_writer.add_summary(summary)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Read the run back from its records and report it, the table below the bar that has stopped by now."""
        self._report(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Report what there is of a run that was interrupted."""
        if isinstance(exception, (KeyboardInterrupt, SystemExit)):
            self._report(trainer)

    def _report(self, trainer: L.Trainer) -> None:
        folder, self._folder = self._folder, None
        if folder is None or distributed.rank() > 0 or not (folder / FOLDER).exists():
            return
        for logger in trainer.loggers:
            logger.save()
        try:
            run = Run.read(folder)
        except ConfigError:
            # Interrupted before the baseline: there is nothing to tell yet.
            return
        try:
            report_run(run, self.rule)
            write_run_page(run, self.rule)
        except OSError as error:
            # A full disk must not cost the answer.
            warnings.warn(f"{folder / 'report'} could not be written ({error.strerror}).", stacklevel=2)
        for logger in trainer.loggers:
            self._complete_log(logger, run)
        print_run(run, self.rule)

    def _complete_log(self, logger: Logger, run: Run) -> None:
        step = run.last_step
        transitions = run.transitions(run.main_pool, self.rule)
        half = half_life(list(transitions), [item.retention for item in transitions.values()])
        if half is not None:
            logger.log_metrics({f"retention/half_life/{self.rule}": half}, step)
        log_figure(logger, "decay", decay_figure(run, self.rule), step)
        fates = run.fates(run.main_pool, self.rule)
        for name, figure in (fate_figures(run, fates, self.rule) if fates is not None else {}).items():
            log_figure(logger, name, figure, step)
        with suppress(ConfigError):  # A damaged file is named on the run's page.
            causes = read_attribution(run.folder)
            if causes is not None and causes.edits:
                log_figure(logger, "causes", causes_figure(causes), step)
        for title, lines in chart_lines(run).items():
            log_lines(logger, title, lines, step)
        log_table(logger, "table", run_header(run), run_table(run, self.rule), step, notes_markdown(run_notes(run)))
        lost = lost_facts(run, self.rule)
        if lost:
            log_table(logger, "lost facts", LOST_HEADER, lost, step)
        if isinstance(logger, TensorBoardLogger):
            finished = run.segment is None or run.segment.state is State.FINISHED
            logger.log_metrics(_columns(run, self.rule), step)
            logger.experiment.file_writer.add_summary(ending_summary(finished))


def _columns(run: Run, rule: Rule) -> dict[str, float]:
    """The few last scores that a table of runs should show first."""
    point = points_of(run)[run.last_step]
    names = ("edit/efficacy", *(f"retention/{pool}" for pool in Pool))
    chosen = {name: point[f"{name}/{rule}"] for name in names if f"{name}/{rule}" in point}
    accuracy = run.downstream.get("val_accuracy")
    if accuracy:
        chosen["downstream/val_accuracy"] = accuracy[-1][1]
    return {f"{AT_END}/{name}": value for name, value in chosen.items()}
