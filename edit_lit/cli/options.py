"""The options of a configuration: which class takes those below each key, and what is refused of them at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, Namespace
from lightning.pytorch.cli import LightningArgumentParser

from callbacks import (
    AttributionCallback,
    DriftCallback,
    EditRetentionCallback,
    GuardCallback,
    KnowledgeEdit,
    Progress,
    RunCheckpoint,
    RunRecorder,
    RunReport,
)
from edit_lit.cli.parser import EditArgumentParser
from edit_lit.cli.plan import NEWEST
from edit_lit.cli.resume import EarlierRun
from edit_lit.cli.sentences import sentence
from edit_lit.cli.suggestions import names_of
from edit_lit.cli.trainer import EditTrainer
from edit_lit.cli.trial import check_seed, try_trainer
from edit_lit.cycles.plan import check_size
from edit_lit.data_module import EditDataModule
from edit_lit.fine_tuner import FineTuner
from edit_lit.run_folder import check_run_name
from edit_lit.utilities.errors import ConfigError

PARTS: dict[str, type] = {
    "checkpoint": RunCheckpoint,
    "edit": KnowledgeEdit,
    "guards": GuardCallback,
    "data": EditDataModule,
    "retention": EditRetentionCallback,
    "drift": DriftCallback,
    "record": RunRecorder,
    "report": RunReport,
    "attribution": AttributionCallback,
    "progress": Progress,
    "model": FineTuner,
    "trainer": EditTrainer,
}
"""In the order of the help, which is that of the callbacks. What is made last, model and Trainer, takes longest."""

_PLAIN = {"name": str, "tensorboard": bool, "seed_everything": bool | int, "resume": str | None}

HANDED: dict[str, set[str]] = {
    "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"},
    "validate": {"model", "dataloaders", "datamodule"},
    "edit": {"model", "datamodule"},
    "cycles": {"model", "datamodule"},
}
"""What each verb, a method of the Trainer, is handed that is no option of it."""

_OWN = {
    "fit": ("ckpt_path", "weights_only"),
    "validate": ("ckpt_path", "verbose", "weights_only"),
    "edit": ("output", "export"),
    "cycles": ("facts_per_cycle", "same_seed", "numbers"),
}
OF_A_VERB = sorted({name for names in _OWN.values() for name in names})
"""Options of one verb or another. What is no option of the verb that runs is left out of files, not refused."""


def add_parts(parser: LightningArgumentParser) -> None:
    """Add the options below each key."""
    for key, part in PARTS.items():
        if part is Progress:
            # Not always among the callbacks, as the others are: Lightning takes one bar, or none.
            parser.add_class_arguments(part, key)
        else:
            parser.add_lightning_class_args(part, key)


def option_names(verb: str) -> list[str]:
    """The options of a verb by dotted names, without those of the classes that an option takes."""
    parser = EditArgumentParser()
    add_parts(parser)
    return ["config", *names_of(parser.get_defaults().keys()), *_PLAIN, *_OWN[verb], "print_config", "help"]


@contextmanager
def in_one_line(
    verb: str | None, parser: LightningArgumentParser, options: Mapping[str, Any] = _PLAIN | PARTS
) -> Iterator[None]:
    """Let what the parser complains of be told in one line.

    Args:
        verb: The verb whose options are parsed.
        parser: The parser that knows these.
        options: The annotations of the options of the top, by name.

    Raises:
        ConfigError: Naming the option, its value and the remedy.
    """
    try:
        yield
    except ArgumentError as error:
        known = [*names_of(parser.get_defaults().keys()), "config", "help", "print_config"]
        raise ConfigError(sentence(str(error), verb or "", options, known)) from error


def check_options(config: Namespace, verb: str | None) -> None:
    """Refuse what hangs on neither model nor data, before these are loaded.

    Args:
        config: The options.
        verb: The verb that they are for.

    Raises:
        ConfigError: Naming the option, its value and the remedy.
    """
    check_seed(config.seed_everything)
    try_trainer(config.trainer.as_dict())
    if verb in ("fit", "cycles"):
        check_run_name(config.name)
    if verb == "cycles":
        check_size(config.facts_per_cycle)
    checkpoint = config.get("ckpt_path")
    if checkpoint is not None and checkpoint != NEWEST and "://" not in str(checkpoint):
        EarlierRun.at(Path(checkpoint))
