"""The verb ``verify``: a gate that says whether a model holds what is demanded of it."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

from jsonargparse import Namespace

# By importing them the short names of their classes, such as JsonFacts, become known to the parser.
import edit_lit.facts
import edit_lit.world  # noqa: F401
from edit_lit.cli.asked_model import MODEL_OPTIONS, add_model_options, load_model
from edit_lit.cli.messages import quiet_libraries
from edit_lit.cli.mistakes import naming_part
from edit_lit.cli.options import in_one_line
from edit_lit.cli.parser import EditArgumentParser
from edit_lit.cli.suggestions import names_of
from edit_lit.reports.environment import versions
from edit_lit.reports.terminal import print_table
from edit_lit.utilities.errors import ConfigError
from edit_lit.verification import Standing, Verification
from edit_lit.verification.report import HEADER, rows, summary, write_files

log = logging.getLogger(__name__)

STATUS = {Standing.HOLDS: 0, Standing.SHORT: 1, Standing.NOT_JUDGED: 2}
"""The exit status of each verdict."""

_OWN: dict[str, Any] = {**MODEL_OPTIONS, "output": str}


def verify(program: str, words: Sequence[str]) -> None:
    """Ask a model, print what became of the demands, write the files, and exit with the status that belongs to it.

    Args:
        program: The program's name in help texts.
        words: The options.

    Raises:
        ConfigError: If an option, the facts, the baseline or the model cannot be used; nothing was asked then.
    """
    quiet_libraries()
    parser = verify_parser(program)
    if {"-h", "--help"} & set(words):
        parser.print_help()
        return
    annotations = _OWN | get_type_hints(Verification.__init__)
    with in_one_line("verify", parser, annotations):
        options = parser.parse_args(list(words))
    loaded = _verification(parser, options).load()
    folder = _output(options)
    language_model = load_model(parser, options)
    started = time.perf_counter()
    verdict = loaded.run(language_model)
    seconds = time.perf_counter() - started
    write_files(folder, verdict, {"options": _shown(options), "versions": versions(), "seconds": round(seconds, 1)})
    print_table("Does the model hold what is demanded?", HEADER, rows(verdict), [summary(verdict)])
    log.info("written: %s; the questions took %.1f s", folder, seconds)
    if STATUS[verdict.standing]:
        sys.exit(STATUS[verdict.standing])


def option_names() -> list[str]:
    """The verb's options by dotted names, without those of the classes that an option takes."""
    return names_of(verify_parser("").get_defaults().keys())


def verify_parser(program: str) -> EditArgumentParser:
    """The parser of the verb's options.

    Args:
        program: The program's name in help texts.
    """
    parser = EditArgumentParser(prog=f"{program} verify", description="Whether a model holds what is demanded of it.")
    add_model_options(parser)
    parser.add_argument("--output", type=str, default="verification", help="folder of the files that are written")
    parser.add_class_arguments(Verification, None)
    return parser


def _verification(parser: EditArgumentParser, options: Namespace) -> Verification:
    """What is demanded, made without the model, which takes longest to load."""
    own = options.clone()
    for name in _OWN:
        own.pop(name, None)
    with naming_part(own.as_dict()):
        made = parser.instantiate(own)
        return Verification(**{name: made[name] for name in vars(made) if name != "config"})


def _output(options: Namespace) -> Path:
    """The folder of the files, which must not be the baseline's."""
    folder = Path(options.output)
    if options.baseline is not None and folder.resolve() == Path(options.baseline).resolve():
        raise ConfigError(
            f"--output is {options.output!r}, the folder of the baseline, which would be overwritten. Name another."
        )
    return folder


def _shown(options: Namespace) -> dict[str, Any]:
    return {name: value for name, value in options.as_dict().items() if name not in ("config", "output")}
