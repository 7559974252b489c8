"""The answer at the end of a run: a table, a figure and a row of hyper-parameters."""

from __future__ import annotations

from argparse import Namespace
from typing import Literal

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from rich.table import Table

from edit_lit.measures.curve import curve_point
from edit_lit.measures.outcome_files import FOLDER
from edit_lit.measures.scores import Rule, half_life
from edit_lit.reports.figure import decay_figure
from edit_lit.reports.report import report_run
from edit_lit.reports.run import Run
from edit_lit.reports.table import HEADER, Row, run_table
from edit_lit.run_folder import run_folder
from edit_lit.utilities import distributed


class RunReport(L.Callback):
    """Prints the table, writes ``report/`` and completes the TensorBoard log when training ends.

    TensorBoard's row of hyper-parameters has those that its logger was given with ``log_hyperparams``.

    Args:
        rule: The success rule of the figure and of the half-life.
    """

    def __init__(self, rule: Literal["prob", "exact", "first"] = "exact") -> None:
        self.rule = Rule(rule)
        self._run: Run | None = None

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Read the run back from its records and report it."""
        folder = run_folder(trainer)
        if distributed.rank() > 0 or not (folder / FOLDER).exists():
            return
        for logger in trainer.loggers:
            logger.save()
        self._run = Run.read(folder)
        report_run(self._run, self.rule)
        self._complete_log(trainer, self._run)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the table, below the progress bar that has stopped by now."""
        if self._run is not None:
            print_table(f"Did the edits survive? {self._run.name}", HEADER, run_table(self._run))

    def _complete_log(self, trainer: L.Trainer, run: Run) -> None:
        transitions = run.transitions(run.main_pool, self.rule)
        curves = {pool: run.curve(pool) for pool in run.probes}
        last = {pool: list(curve.values())[-1] for pool, curve in curves.items()}
        final = curve_point({pool: next(iter(curve.values())) for pool, curve in curves.items()}, last)
        final = {tag: value for tag, value in final.items() if tag.endswith(f"/{self.rule}")}
        final |= {tag: float(value) for tag, value in trainer.callback_metrics.items() if "/val_" in tag}
        half = half_life(list(transitions), [item.retention for item in transitions.values()])
        if half is not None:
            final[f"retention/half_life/{self.rule}"] = half
            for logger in trainer.loggers:
                logger.log_metrics({f"retention/half_life/{self.rule}": half}, step=trainer.global_step)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure("decay", decay_figure(run, self.rule), trainer.global_step)
                # The logger has them from the command line, or from a module's `save_hyperparameters`.
                options = dict(vars(logger.hparams) if isinstance(logger.hparams, Namespace) else logger.hparams)
                logger.log_hyperparams(options, {f"hp/{name}": value for name, value in final.items()})


def print_table(title: str, header: Row, rows: list[Row]) -> None:
    """Print a table to the terminal."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(header):
        table.add_column(column, justify="right" if number else "left", no_wrap=number == 0)
    for row in rows:
        table.add_row(*row)
    console = Console()
    # A log file has no width of its own, and a narrow one would break the numbers.
    console.width = max(console.width, 100 if console.is_terminal else 160)
    console.print(table)
