"""The options of a trial as ``fit`` would read them, without building anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import ArgsType, LightningArgumentParser

from edit_lit.cli.lightning_cli import NOT_OF_THE_RUN, EditCLI
from edit_lit.cli.options import HANDED, check_options, in_one_line
from edit_lit.cli.parser import EditArgumentParser
from edit_lit.cli.trainer import EditTrainer
from edit_lit.data_module import EditDataModule
from edit_lit.fine_tuner import FineTuner
from edit_lit.utilities.files import write_atomically


class OptionReader(EditCLI):
    """Reads options as a verb does, and builds nothing.

    Args:
        verb: ``fit`` or ``cycles``.
    """

    def __init__(self, verb: str = "fit") -> None:
        self._reads = verb
        super().__init__(
            FineTuner,
            EditDataModule,
            args=[],
            run=False,
            trainer_class=EditTrainer,
            parser_class=EditArgumentParser,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            save_config_callback=None,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the verb's own options, too."""
        super().add_arguments_to_parser(parser)
        if self._reads == "cycles":
            parser.add_method_arguments(EditTrainer, "cycles", skip=set(HANDED["cycles"]))

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Nothing: options are read later, those of one trial after the other."""
        self.config = Namespace(seed_everything=False)

    def before_instantiate_classes(self) -> None:
        """Nothing: there is no run."""

    def instantiate_classes(self) -> None:
        """Nothing."""

    def read(self, parts: Sequence[Path | Mapping[str, Any]]) -> Namespace:
        """The options that configs and options give together.

        Args:
            parts: Config files, and options nested or by dotted name; later ones override earlier ones.

        Raises:
            ConfigError: Naming the option, its value and the remedy.
        """
        with in_one_line(None, self.parser):
            options = self.parser.parse_args([word for part in parts for word in _words(part)])
        check_options(options, self._reads)
        return options

    def write(self, options: Namespace, path: Path) -> None:
        """Write options as a config file, whole or not at all."""
        kept = options.clone()
        for key in NOT_OF_THE_RUN:
            kept.pop(key, None)
        write_atomically(path, lambda temporary: self.parser.save(kept, temporary, skip_unset=False, multifile=False))


def _words(part: Path | Mapping[str, Any]) -> list[str]:
    """A part as the words of a command line."""
    if isinstance(part, Path):
        return ["--config", str(part)]
    words = []
    for key, value in part.items():
        # As a word, a null deep in an option is taken for a text.
        if value is None or (isinstance(value, Mapping) and "." not in key):
            words += ["--config", json.dumps({key: value})]
        else:
            words += [f"--{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return words
