"""Lightning's command line with the edit, its retention and the report as keys of their own."""

from __future__ import annotations

import argparse
import copy
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Any

import lightning as L
from jsonargparse import Namespace
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.plugins import CheckpointIO
from lightning.pytorch.utilities import rank_zero_only

# By importing them the short names of their classes, such as MEMIT, become known to the parser.
import edit_lit.editors
import edit_lit.facts
import edit_lit.guards
import edit_lit.rewriters
import edit_lit.tasks
import edit_lit.tuning
import edit_lit.world  # noqa: F401
from callbacks import Progress
from edit_lit.checkpoint_io import AtomicCheckpointIO
from edit_lit.cli.announcements import announce_folder, announce_model
from edit_lit.cli.command_line import check_command_line
from edit_lit.cli.csv_log import MetricsTable
from edit_lit.cli.messages import quiet_libraries
from edit_lit.cli.mistakes import naming_part
from edit_lit.cli.options import HANDED, OF_A_VERB, add_parts, check_options, in_one_line
from edit_lit.cli.parser import EditArgumentParser
from edit_lit.cli.plan import NEWEST, Plan, find_earlier, flat_options, naming_directory, plan_run
from edit_lit.cli.resume import EarlierRun
from edit_lit.cli.trainer import EditTrainer
from edit_lit.cli.trial import trainer_mistakes
from edit_lit.cli.verbs import report
from edit_lit.data_module import EditDataModule
from edit_lit.fine_tuner import FineTuner
from edit_lit.reports.hyperparameters import hyperparameters
from edit_lit.run_folder import discard_if_unused, run_folder
from edit_lit.utilities.files import write_atomically
from edit_lit.utilities.run_files import CONFIG

log = logging.getLogger(__name__)

NOT_OF_THE_RUN = ("config", "ckpt_path", "resume", "weights_only", "numbers")


class SaveAndLogConfig(SaveConfigCallback):
    """Saves the config in the run's folder, and gives it to the loggers as hyper-parameters."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Save it, unless nothing is kept of this verb."""
        if isinstance(trainer, EditTrainer) and trainer.folder is not None:
            super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write the config whole or not at all, and log its leaves by their dotted names."""
        kept = self.config.clone()
        for key in NOT_OF_THE_RUN:
            # What was started from another run's checkpoint needs that until it has one of its own.
            if key in kept and (key != "ckpt_path" or kept[key] in (None, NEWEST)):
                del kept[key]
        path = run_folder(trainer) / self.config_filename
        write_atomically(path, lambda temporary: self.parser.save(kept, temporary, skip_unset=False, multifile=False))
        options = hyperparameters(kept.as_dict())
        for logger in trainer.loggers:
            logger.log_hyperparams(options)


class EditCLI(LightningCLI):
    """LightningCLI with the edit, its retention and the report as top-level keys of the config."""

    _options: LightningArgumentParser

    def __init__(self, *parts: Any, verb: str | None = None, **options: Any) -> None:
        """A command line of one verb; of options alone if there is none."""
        self._verb = verb
        super().__init__(*parts, **options)

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the project's own keys, and the many of the Trainer behind them."""
        add_parts(parser)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``name``, ``resume`` and ``tensorboard``."""
        self._options = parser
        if isinstance(parser, EditArgumentParser):
            parser.of_other_verbs = OF_A_VERB
        parser.add_argument("--name", type=str, default="run", help="Folder of the run under trainer.default_root_dir.")
        parser.add_argument(
            "--resume", type=str | None, default=None, help="Folder of a run to go on with, under that run's config."
        )
        parser.add_argument(
            "--tensorboard",
            type=bool,
            default=True,
            help="Log to TensorBoard in the run's folder, beside the loggers of trainer.logger.",
        )
        parser.set_defaults({"trainer.default_root_dir": "runs", "trainer.enable_model_summary": False})

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override] # of one verb, which is faster
        """The verb that runs, and what it is handed instead of options."""
        return {verb: handed for verb, handed in HANDED.items() if verb == self._verb}

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the options, and refuse what can be refused before anything is loaded."""
        if self._verb is not None and isinstance(args, list):
            check_command_line(args[1:])
        with in_one_line(self._verb, self._options):
            super().parse_arguments(parser, args)
        check_options(self._config, self._verb)

    @property
    def _config(self) -> Namespace:
        return self.config[self._verb] if self._verb else self.config

    def before_instantiate_classes(self) -> None:
        """Find the run that the command goes on with; one that is finished is reported, and that is all."""
        config = self._config
        self.plan = Plan(Path(config.trainer.default_root_dir, config.name))
        if self.subcommand not in ("fit", "validate", "cycles"):
            return
        options = dict(flat_options(config.as_dict()))
        folder, earlier = find_earlier(options, self._options_of, of_series=self.subcommand == "cycles")
        first = getattr(rank_zero_only, "rank", 0) == 0
        if self.subcommand == "validate":
            self.plan = Plan(folder or self.plan.folder, earlier=earlier)
            return
        self.plan = plan_run(options, folder, earlier, first)
        if self.plan.finished:
            log.info("the run in %s has finished", self.plan.folder)
            if first:
                report([str(self.plan.folder)], config.report.rule, None)
            sys.exit(0)

    def _options_of(self, path: Path) -> dict[str, Any]:
        """The options of a run, as its config has them."""
        assert self.subcommand is not None
        with in_one_line(self._verb, self._options):
            parsed = self.parser.parse_args([self.subcommand, "--config", str(path)])
        return dict(flat_options(parsed.as_dict()[self.subcommand]))

    def instantiate_classes(self) -> None:
        """Build everything; a mistake names its key, in a resumed run also the directory from which its paths lead."""
        try:
            with naming_directory(self.plan.earlier), naming_part(self._config.as_dict()):
                super().instantiate_classes()
        except BaseException:
            if self.plan.taken:
                discard_if_unused(self.plan.folder)
            raise

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Make a trainer that logs into the run's folder, whatever other loggers the config names."""
        config = self.config_init[self.subcommand] if self.subcommand else self.config_init
        makes_run, keeps = self.subcommand == "fit", config.trainer.enable_checkpointing
        if self.subcommand == "cycles":
            return self._trainer_of_series()
        trainer = self._trainer_in(self.plan.folder if makes_run else None, **kwargs)
        if isinstance(trainer, EditTrainer):
            trainer.follow(self.plan if makes_run else None, self.plan.earlier, keeps is not False)
        earlier = self.plan.earlier
        if earlier is not None:
            config.ckpt_path = str(earlier.checkpoint) if earlier.checkpoint is not None else None
        elif config.get("ckpt_path") == NEWEST:
            config.ckpt_path = None  # There is no run yet.
        return trainer

    def _trainer_in(self, folder: Path | None, **kwargs: Any) -> L.Trainer:
        """A Trainer with callbacks, loggers and plugins of its own that logs into a folder, if there is one."""
        config = self.config_init[self.subcommand] if self.subcommand else self.config_init
        # Each Trainer of a series gets the parts as they were when nothing had used them.
        options = copy.deepcopy(config.trainer) if self.subcommand == "cycles" else config.trainer
        named, keeps = options.logger, options.enable_checkpointing
        loggers = named or False if folder is None else _loggers(named, folder, config.tensorboard)
        kwargs.setdefault("logger", loggers)
        kwargs["callbacks"] = _with_progress(options, copy.copy(config.progress))
        if keeps in (None, True) and not _lists_checkpoints(options.callbacks):
            # Lightning would add one of its own.
            kwargs["enable_checkpointing"] = False
        if not any(isinstance(plugin, CheckpointIO) for plugin in options.plugins or ()):
            kwargs["plugins"] = [*(options.plugins or ()), AtomicCheckpointIO()]
        with trainer_mistakes(options):
            return super().instantiate_trainer(**{**vars(options), **kwargs})

    def _trainer_of_series(self) -> L.Trainer:
        """A Trainer that makes those of a series' cycles, and trains nothing itself."""

        def make(folder: Path) -> L.Trainer:
            trainer = self._trainer_in(folder)
            assert isinstance(trainer, EditTrainer)
            trainer.follow_series(folder)
            return trainer

        trainer = self._trainer_in(None, logger=False)
        assert isinstance(trainer, EditTrainer)
        trainer.lead_series(self.plan, make)
        return trainer

    def before_fit(self) -> None:
        """Say what is about to be worked on."""
        announce_model(self.model.language_model, self.trainer)

    before_validate = before_edit = before_cycles = before_fit

    def after_fit(self) -> None:
        """Say where the files are; a run that diverged is no success to whoever waits for it."""
        announce_folder(run_folder(self.trainer), self.trainer)
        if self.model.diverged_at is not None:
            sys.exit(1)

    def after_cycles(self) -> None:
        """Say where the files are."""
        announce_folder(self.plan.folder, self.trainer)


def _with_progress(trainer: Namespace, progress: Progress) -> list[L.Callback]:
    """The callbacks that the config names, behind our progress unless it names another bar or wants none."""
    given = trainer.callbacks or []
    named = [given] if isinstance(given, L.Callback) else list(given)
    wanted = trainer.enable_progress_bar is not False and not trainer.barebones
    return [progress, *named] if wanted and not any(isinstance(one, ProgressBar) for one in named) else named


def _lists_checkpoints(callbacks: Any) -> bool:
    """Whether a user's callbacks keep checkpoints of their own."""
    given = callbacks if isinstance(callbacks, list) else [callbacks]
    return any(isinstance(callback, Checkpoint) for callback in given)


def _loggers(named: Logger | Sequence[Logger] | bool | None, folder: Path, board: bool) -> list[Logger]:
    """A run's own table of metrics, TensorBoard unless it is not wanted, and the loggers that the config names."""
    given = [] if isinstance(named, (bool, NoneType)) else list(named) if isinstance(named, Sequence) else [named]
    board = board and named is not False and not any(isinstance(logger, TensorBoardLogger) for logger in given)
    boards = (
        [TensorBoardLogger(folder.parent.parent, folder.parent.name, folder.name, default_hp_metric=False)]
        if board
        else []
    )
    return [*boards, MetricsTable(folder), *given]


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
        args=_with_config_of_run(args),
        verb=args[0],
        trainer_class=EditTrainer,
        parser_class=EditArgumentParser,
        parser_kwargs={"prog": program},
        seed_everything_default=0,
        auto_configure_optimizers=False,
        # Options kept in a checkpoint would win over those that are given with it.
        load_from_checkpoint_support=False,
        save_config_callback=SaveAndLogConfig,
        save_config_kwargs={"save_to_log_dir": False},
    )


def _with_config_of_run(args: Sequence[str]) -> list[str]:
    """The arguments with the config of the run that ``--resume`` names, which the others override."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--resume")
    try:
        folder = parser.parse_known_args(list(args))[0].resume
    except argparse.ArgumentError:
        return list(args)  # Lightning's parser says what is wrong.
    if folder is None:
        return list(args)
    EarlierRun.in_folder(Path(folder))
    return [args[0], "--config", str(Path(folder, CONFIG)), *args[1:]]
