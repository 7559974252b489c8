"""Lightning's command line with the edit, its retention and the report as keys of their own."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Any

import lightning as L
from jsonargparse import Namespace
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

# By importing them the short names of their classes, such as MEMIT, become known to the parser.
import edit_lit.editors
import edit_lit.facts
import edit_lit.tasks
import edit_lit.tuning
import edit_lit.world  # noqa: F401
from callbacks import EditRetentionCallback, KnowledgeEdit, Progress, RunRecorder, RunReport
from edit_lit.cli.announcements import announce_folder, announce_model, print_validation
from edit_lit.cli.messages import quiet_libraries
from edit_lit.cli.trainer import EditTrainer
from edit_lit.data_module import EditDataModule
from edit_lit.fine_tuner import FineTuner
from edit_lit.reports.hyperparameters import hyperparameters
from edit_lit.run_folder import discard_if_unused, new_run_folder, run_folder


class EditArgumentParser(LightningArgumentParser):
    """Lightning's parser, for verbs that may bear the name of a key, as ``edit`` does."""

    def add_method_arguments(
        self, class_type: type, method_name: str, skip: set[str | int] | None = None, **options: Any
    ) -> list[str]:
        """Add a verb's own options, in no group: it would be named after the verb, and so after the key."""
        added: list[str] = super().add_method_arguments(
            class_type, method_name, skip=skip, **{**options, "as_group": False}
        )
        return added


class SaveAndLogConfig(SaveConfigCallback):
    """Saves the config in the run's folder, and gives it to the loggers as hyper-parameters."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Save it, unless nothing is kept of this verb."""
        if isinstance(trainer, EditTrainer) and trainer.folder is not None:
            super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give the config to the loggers."""
        for logger in trainer.loggers:
            logger.log_hyperparams(hyperparameters(self.config.as_dict()))


class EditCLI(LightningCLI):
    """LightningCLI with the edit, its retention and the report as top-level keys of the config."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``edit``, ``retention``, ``record``, ``report``, ``progress``, ``name`` and ``tensorboard``."""
        parser.add_lightning_class_args(KnowledgeEdit, "edit")
        parser.add_lightning_class_args(EditRetentionCallback, "retention")
        parser.add_lightning_class_args(RunRecorder, "record")
        parser.add_lightning_class_args(RunReport, "report")
        # Not always among the callbacks, as the others are: Lightning takes one bar, and none if it is to show none.
        parser.add_class_arguments(Progress, "progress")
        parser.add_argument("--name", type=str, default="run", help="Folder of the run under trainer.default_root_dir.")
        parser.add_argument(
            "--tensorboard",
            type=bool,
            default=True,
            help="Log to TensorBoard in the run's folder, beside the loggers of trainer.logger.",
        )
        parser.set_defaults({"trainer.default_root_dir": "runs", "trainer.enable_model_summary": False})

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The verbs that Lightning's command line runs, each a method of the Trainer, and what it hands them."""
        verbs: dict[str, set[str]] = LightningCLI.subcommands()
        return {"fit": verbs["fit"], "validate": verbs["validate"], "edit": {"model", "datamodule"}}

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Take the run's folder, and log into it, whatever other loggers the config names."""
        config = self.config_init[self.subcommand] if self.subcommand else self.config_init
        root, makes_run = Path(config.trainer.default_root_dir), self.subcommand == "fit"
        # The first process takes the folder; the others learn it from that one.
        taken = new_run_folder(root, config.name) if makes_run and getattr(rank_zero_only, "rank", 0) == 0 else None
        folder = taken or root / config.name
        named = config.trainer.logger
        kwargs["logger"] = _loggers(named, folder, config.tensorboard) if makes_run else named or False
        kwargs["callbacks"] = _with_progress(config.trainer, config.progress)
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except BaseException:
            if taken is not None:
                discard_if_unused(taken)
            raise
        if isinstance(trainer, EditTrainer):
            trainer.folder = folder if makes_run else None
        return trainer

    def before_fit(self) -> None:
        """Say what is about to be worked on."""
        announce_model(self.model.language_model, self.trainer)

    before_validate = before_edit = before_fit

    def after_fit(self) -> None:
        """Say where the files are."""
        announce_folder(run_folder(self.trainer), self.trainer)

    def after_validate(self) -> None:
        """Say what was measured."""
        print_validation(self.trainer)


def _with_progress(trainer: Namespace, progress: Progress) -> list[L.Callback]:
    """The callbacks that the config names, behind our progress unless it names another bar or wants none."""
    given = trainer.callbacks or []
    named = [given] if isinstance(given, L.Callback) else list(given)
    wanted = trainer.enable_progress_bar is not False and not trainer.barebones
    return [progress, *named] if wanted and not any(isinstance(one, ProgressBar) for one in named) else named


def _loggers(named: Logger | Sequence[Logger] | bool | None, folder: Path, board: bool) -> list[Logger]:
    """A run's own table of metrics, TensorBoard unless it is not wanted, and the loggers that the config names."""
    given = [] if isinstance(named, (bool, NoneType)) else list(named) if isinstance(named, Sequence) else [named]
    root, name, version = folder.parent.parent, folder.parent.name, folder.name
    # Both share a folder on purpose; the CSV logger takes the other's files for leftovers.
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*", module="lightning.*csv_logs")
    board = board and named is not False and not any(isinstance(logger, TensorBoardLogger) for logger in given)
    boards = [TensorBoardLogger(root, name, version, default_hp_metric=False)] if board else []
    return [*boards, CSVLogger(root, name, version), *given]


def run_lightning(program: str, args: Sequence[str]) -> None:
    """Run a verb of Lightning's command line.

    Args:
        program: The program's name in help texts.
        args: The verb and its options.
    """
    quiet_libraries()
    EditCLI(
        FineTuner,
        EditDataModule,
        args=list(args),
        trainer_class=EditTrainer,
        parser_class=EditArgumentParser,
        parser_kwargs={"prog": program},
        seed_everything_default=0,
        auto_configure_optimizers=False,
        save_config_callback=SaveAndLogConfig,
        save_config_kwargs={"overwrite": True},
    )
