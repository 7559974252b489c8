"""The command line: ``fit`` and ``validate`` by Lightning, ``edit`` and ``report`` beside them."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

import edit_lit.editors
import edit_lit.facts
import edit_lit.tasks
import edit_lit.tuning
import edit_lit.world  # noqa: F401 - classes answer to their short names once they are imported
from callbacks import EditRetentionCallback, KnowledgeEdit, RunReport
from callbacks.knowledge_edit import report_diagnostics
from callbacks.run_report import print_table
from edit_lit.data_module import EditDataModule
from edit_lit.errors import ConfigError
from edit_lit.fine_tuner import FineTuner
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import Rule
from edit_lit.reports.report import report_comparison, report_run
from edit_lit.reports.run import find_runs
from edit_lit.reports.table import COMPARISON_HEADER, HEADER, run_table, score_rows

_USAGE = """usage: python -m edit_lit {fit,validate,edit,report} ...

  fit        edit, fine-tune and watch the edits        (--config FILE [--config OVERLAY ...] [--help])
  validate   measure the downstream task
  edit       edit only; write the Delta and, if asked, the edited model
  report     figures and tables from the folders of runs
"""


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
        """Lightning's verbs that make sense here."""
        verbs: dict[str, set[str]] = LightningCLI.subcommands()
        return {name: verbs[name] for name in ("fit", "validate")}

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Log to TensorBoard and CSV in one folder, unless the config names loggers itself."""
        if self._get(self.config_init, "trainer.logger") is None:
            root = str(self._get(self.config_init, "trainer.default_root_dir"))
            kwargs["logger"] = _loggers(root, self._get(self.config_init, "name"))
        trainer: L.Trainer = super().instantiate_trainer(**kwargs)
        for callback in trainer.callbacks:  # type: ignore[attr-defined] # set by a connector
            if isinstance(callback, RunReport):
                callback.options = dict(_flat(self._config_of_run()))
        return trainer

    def _config_of_run(self) -> Mapping[str, Any]:
        config = self.config.get(str(self.subcommand)) if self.subcommand else self.config
        named: dict[str, Any] = config.as_dict()
        return {key: value for key, value in named.items() if key not in ("config", "ckpt_path", "weights_only")}


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


class _EditOnlyCLI(EditCLI):
    """The same config, for a run that stops after the edit."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_argument("--output", type=str, default="delta.safetensors", help="Where the Delta is written.")
        parser.add_argument("--export", type=str | None, default=None, help="Folder for the edited model, if wanted.")


def edit_only(args: list[str]) -> None:
    """Edit a model by a config, print the scores, and write the Delta and perhaps the edited model."""
    cli = _parse(_EditOnlyCLI, args, run=False)
    (knowledge_edit,) = (callback for callback in cli.trainer.callbacks if isinstance(callback, KnowledgeEdit))  # type: ignore[attr-defined] # set by a connector
    language_model = cli.model.language_model.to(cli.trainer.strategy.root_device)
    if cli.datamodule.edits is None:
        raise ConfigError("data.edits is not given. Name a source of facts to edit.")
    requests = cli.datamodule.edits.load()
    delta = knowledge_edit.delta_for(language_model, requests)
    probe = Probe(requests, language_model.tokenizer)
    before = probe.run(language_model)
    delta.apply(language_model)
    print_table("The edit", HEADER[:3], score_rows([before, probe.run(language_model)]))
    report_diagnostics(delta, language_model, len(requests))
    delta.save(cli.config.output)
    logging.getLogger(__name__).info("the Delta is in %s", cli.config.output)
    if cli.config.export is not None:
        cli.model.save_pretrained(Path(cli.config.export))


def _report(args: list[str]) -> None:
    parser = ArgumentParser(
        prog="python -m edit_lit report", description="Figures and tables from the folders of runs."
    )
    parser.add_argument("runs", nargs="+", help="Folders of runs, or folders that hold some.")
    parser.add_argument("--rule", choices=[str(rule) for rule in Rule], default="exact", help="Rule of the figures.")
    parser.add_argument(
        "--output",
        type=str | None,
        default=None,
        help="Where the comparison of several runs goes; report/ in the first named folder if not given.",
    )
    options = parser.parse_args(args)
    rule, log = Rule(options.rule), logging.getLogger(__name__)
    runs = find_runs([Path(path) for path in options.runs])
    for run in runs:
        log.info("written: %s", report_run(run, rule))
    if len(runs) == 1:
        print_table(f"Did the edits survive? {runs[0].name}", HEADER, run_table(runs[0]))
        return
    folder = Path(options.output or Path(options.runs[0]) / "report")
    rows = report_comparison(runs, folder, rule)
    log.info("written: %s", folder)
    print_table("Which edits survived?", COMPARISON_HEADER, rows)


def _parse(cls: type[EditCLI], args: list[str], run: bool) -> EditCLI:
    return cls(
        FineTuner,
        EditDataModule,
        args=args,
        run=run,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        save_config_kwargs={"overwrite": True},
    )


def _set_up_messages() -> None:
    """Let our own messages through, and keep what is no use to a reader of the terminal out of it."""
    logging.basicConfig(format="%(message)s")
    for name in ("edit_lit", "callbacks"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda record: "💡" not in record.getMessage())
    # The verbs outside Lightning's own are read from the command line as well.
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")


def main(args: list[str] | None = None) -> None:
    """Run a verb.

    Args:
        args: The command line without the program; the process's own if not given.
    """
    args = sys.argv[1:] if args is None else args
    _set_up_messages()
    verb = args[0] if args else ""
    try:
        if verb in ("fit", "validate"):
            _parse(EditCLI, args, run=True)
        elif verb == "edit":
            edit_only(args[1:])
        elif verb == "report":
            _report(args[1:])
        else:
            sys.exit(_USAGE)
    except ValueError as error:
        mistake = _mistake_behind(error)
        if mistake is None:
            raise
        # A mistake in the options, not in the program: the message says what to do.
        sys.exit(f"error: {mistake}")


def _mistake_behind(error: BaseException | None) -> ConfigError | None:
    """The user's mistake that led to an error, which jsonargparse wraps in one of its own; none if it was a bug."""
    while error is not None and not isinstance(error, ConfigError):
        error = error.__cause__ or error.__context__
    return error
