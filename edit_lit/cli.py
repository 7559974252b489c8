"""The command line: Lightning's ``fit`` and ``validate``, and ``edit``, ``report`` and ``merge`` beside them."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

import edit_lit.editors
import edit_lit.facts
import edit_lit.tasks
import edit_lit.tuning
import edit_lit.world
from callbacks import EditRetentionCallback, KnowledgeEdit, RunReport
from callbacks.knowledge_edit import report_diagnostics
from callbacks.run_report import print_table
from edit_lit.data_module import EditDataModule
from edit_lit.deltas import Delta
from edit_lit.fine_tuner import FineTuner
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import Rule
from edit_lit.reports.report import report_comparison, report_run
from edit_lit.reports.run import find_runs
from edit_lit.reports.table import COMPARISON_HEADER, HEADER, run_table, score_rows
from edit_lit.utilities.errors import ConfigError

log = logging.getLogger(__name__)

PROGRAM = "python -m edit_lit"
LIGHTNING_VERBS = {
    "fit": "edit, fine-tune and watch the edits",
    "validate": "measure the downstream task",
    "edit": "edit only; write the Delta and, if asked, the edited model",
}
_NOT_OF_THE_RUN = ("config", "ckpt_path", "weights_only")


class EditTrainer(L.Trainer):
    """Lightning's Trainer, which can also stop after the edit."""

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
            ConfigError: If there are no facts to edit.
        """
        (knowledge_edit,) = (callback for callback in self.callbacks if isinstance(callback, KnowledgeEdit))  # type: ignore[attr-defined] # set by a connector
        language_model = model.language_model.to(self.strategy.root_device)
        if datamodule.edits is None:
            raise ConfigError("data.edits is not given. Name a source of facts to edit.")
        requests = datamodule.edits.load()
        delta = knowledge_edit.delta_for(language_model, requests)
        report_diagnostics(delta, language_model, len(requests))
        probe = Probe(requests, language_model.tokenizer)
        before = probe.run(language_model)
        delta.apply(language_model)
        print_table("The edit", HEADER[:3], score_rows([before, probe.run(language_model)]))
        delta.save(output)
        log.info("the Delta is in %s", output)
        if export is not None:
            model.save_pretrained(Path(export))


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

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Log the leaves of the config by their dotted names."""
        config = {key: value for key, value in self.config.as_dict().items() if key not in _NOT_OF_THE_RUN}
        for logger in trainer.loggers:
            logger.log_hyperparams(dict(_flat(config)))


class EditCLI(LightningCLI):
    """LightningCLI with the edit, its retention and the report as top-level keys of the config."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``edit``, ``retention``, ``report`` and ``name``."""
        parser.add_lightning_class_args(KnowledgeEdit, "edit")
        parser.add_lightning_class_args(EditRetentionCallback, "retention")
        parser.add_lightning_class_args(RunReport, "report")
        parser.add_argument("--name", type=str, default="run", help="Folder of the run under trainer.default_root_dir.")
        parser.set_defaults({"trainer.default_root_dir": "runs", "trainer.enable_model_summary": False})

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The verbs that Lightning's command line runs, each a method of the Trainer, and what it hands them."""
        verbs: dict[str, set[str]] = LightningCLI.subcommands()
        return {"fit": verbs["fit"], "validate": verbs["validate"], "edit": {"model", "datamodule"}}

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Log to TensorBoard and CSV in one folder, unless the config names loggers itself."""
        config = self.config_init[self.subcommand] if self.subcommand else self.config_init
        if config.trainer.logger is None:
            kwargs["logger"] = _loggers(str(config.trainer.default_root_dir), config.name)
        trainer: L.Trainer = super().instantiate_trainer(**kwargs)
        return trainer


def _loggers(root: str, name: str) -> list[Logger]:
    board = TensorBoardLogger(root, name=name, default_hp_metric=False)
    # Both share a folder on purpose; the CSV logger takes the other's files for leftovers.
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*", module="lightning.*csv_logs")
    return [board, CSVLogger(root, name=name, version=board.version)]


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str | int | float | bool]]:
    """Leaves of a nested config by dotted name, in types that a table of hyper-parameters takes."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, (int, float, bool, str)) else str(value)


def run_lightning(args: Sequence[str]) -> None:
    """Run a verb of Lightning's command line.

    Args:
        args: The verb and its options.
    """
    EditCLI(
        FineTuner,
        EditDataModule,
        args=list(args),
        trainer_class=EditTrainer,
        parser_class=EditArgumentParser,
        parser_kwargs={"prog": PROGRAM},
        seed_everything_default=0,
        auto_configure_optimizers=False,
        save_config_callback=SaveAndLogConfig,
        save_config_kwargs={"overwrite": True},
    )


def report(runs: Sequence[str], rule: Rule, output: str | None) -> None:
    """Draw figures and tables from the folders of runs, and compare the runs if there are several.

    Args:
        runs: Folders of runs, or folders that hold some.
        rule: The success rule of the figures.
        output: Where the comparison goes; ``report/`` in the first named folder if not given.
    """
    found = find_runs([Path(path) for path in runs])
    for run in found:
        log.info("written: %s", report_run(run, rule))
    if len(found) == 1:
        print_table(f"Did the edits survive? {found[0].name}", HEADER, run_table(found[0]))
        return
    folder = Path(output or Path(runs[0]) / "report")
    rows = report_comparison(found, folder, rule)
    log.info("written: %s", folder)
    print_table("Which edits survived?", COMPARISON_HEADER, rows)


def merge(deltas: Sequence[str], output: str) -> None:
    """Write several edits of one unedited model as one.

    Args:
        deltas: Files of Deltas; where two change the same weight, their updates add up.
        output: Where the merged Delta is written.
    """
    if len(deltas) < 2:
        raise ConfigError(f"merge was given {len(deltas)} Delta. Name two or more.")
    reduce(Delta.merge, [Delta.load(path) for path in deltas]).save(output)
    log.info("the merged Delta is in %s", output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=edit_lit.__doc__)
    parser.add_argument("--version", action="version", version=f"edit_lit {edit_lit.__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in LIGHTNING_VERBS.items():
        # Without options of their own, so that all of them, --help included, are left for Lightning's parser.
        verbs.add_parser(verb, help=text, add_help=False, allow_abbrev=False)
    made = verbs.add_parser("report", help="figures and tables from the folders of runs")
    made.add_argument("runs", nargs="+", help="folders of runs, or folders that hold some")
    made.add_argument("--rule", type=Rule, choices=list(Rule), default=Rule.EXACT, help="success rule of the figures")
    made.add_argument("--output", help="where the comparison of several runs goes; report/ in the first folder if not")
    merged = verbs.add_parser("merge", help="several edits of one unedited model as one")
    merged.add_argument("deltas", nargs="+", help="files of Deltas")
    merged.add_argument("--output", default="merged.safetensors", help="where the merged Delta is written")
    return parser


def _run(args: Sequence[str] | None) -> None:
    parser = _parser()
    options, rest = parser.parse_known_args(args)
    if options.verb in LIGHTNING_VERBS:
        run_lightning([options.verb, *rest])
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    elif options.verb == "report":
        report(options.runs, options.rule, options.output)
    else:
        merge(options.deltas, options.output)


def _set_up_messages() -> None:
    """Let our own messages through, and keep what is no use to a reader of the terminal out of it."""
    logging.basicConfig(format="%(message)s")
    for name in ("edit_lit", "callbacks"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda record: "💡" not in record.getMessage())
    # The options behind one of Lightning's verbs are handed on as they are.
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")


def main(args: Sequence[str] | None = None) -> None:
    """Run a verb.

    Args:
        args: The command line without the program; the process's own if not given.
    """
    _set_up_messages()
    try:
        _run(args)
    except Exception as error:
        mistake = _mistake_behind(error)
        if mistake is None:
            raise
        # A mistake in the options, not in the program: the message says what to do.
        sys.exit(f"error: {mistake}")


def _mistake_behind(error: BaseException | None) -> ConfigError | None:
    """The user's mistake that led to an error, which jsonargparse wraps in one of its own; none if it was a bug."""
    while error is not None and not isinstance(error, ConfigError):
        error = error.__cause__
    return error
