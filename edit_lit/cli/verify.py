"""The verb ``verify``: a gate that says whether a model holds what is demanded of it."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

import torch
from jsonargparse import Namespace
from peft import PeftModel

# By importing them the short names of their classes, such as JsonFacts, become known to the parser.
import edit_lit.facts
import edit_lit.world  # noqa: F401
from edit_lit.cli.devices import check_device
from edit_lit.cli.messages import quiet_libraries
from edit_lit.cli.mistakes import naming_part
from edit_lit.cli.options import in_one_line
from edit_lit.cli.parser import EditArgumentParser
from edit_lit.cli.suggestions import names_of
from edit_lit.deltas import Delta
from edit_lit.language_model import LanguageModel
from edit_lit.reports.environment import versions
from edit_lit.reports.terminal import print_table
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.text import first_line
from edit_lit.verification import Standing, Verification
from edit_lit.verification.report import HEADER, rows, summary, write_files

log = logging.getLogger(__name__)

STATUS = {Standing.HOLDS: 0, Standing.SHORT: 1, Standing.NOT_JUDGED: 2}
"""The exit status of each verdict."""

_OWN: dict[str, Any] = {
    "language_model": LanguageModel,
    "delta": str | None,
    "adapter": str | None,
    "device": str | None,
    "output": str,
}


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
    language_model = _model(parser, options)
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
    parser.take_class = ("language_model",)
    parser.add_argument("--config", action="config", help="a file with these options; a later one overrides")
    parser.add_subclass_arguments(
        LanguageModel, "language_model", required=True, help="the model: its path, or a class"
    )
    parser.add_argument("--delta", type=str | None, default=None, help="an edit to put into it, a .safetensors file")
    parser.add_argument("--adapter", type=str | None, default=None, help="folder of a peft adapter for it to wear")
    parser.add_argument("--device", type=str | None, default=None, help="where it is put; else an accelerator if any")
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


def _model(parser: EditArgumentParser, options: Namespace) -> LanguageModel:
    """The model with its edit and its adapter, on its device."""
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    check_device(device)
    delta = None if options.delta is None else Delta.load(Path(options.delta))
    chosen = Namespace(language_model=options.language_model)
    with naming_part(chosen.as_dict()):
        language_model: LanguageModel = parser.instantiate(chosen).language_model
    if delta is not None:
        delta.apply(language_model)
    if options.adapter is not None:
        _put_on(language_model, options.adapter)
    return language_model.to(torch.device(device))


def _put_on(language_model: LanguageModel, adapter: str) -> None:
    """Let a model wear an adapter that peft has saved."""
    if not Path(adapter, "adapter_config.json").is_file():
        raise ConfigError(f"--adapter {adapter} holds no adapter_config.json. Name the folder of an adapter of peft.")
    try:
        worn = PeftModel.from_pretrained(language_model.model, adapter)
    # Whatever does not fit comes out as errors of any type.
    except Exception as error:
        raise ConfigError(f"--adapter {adapter} does not fit the model: {first_line(error)}.") from error
    language_model.model = worn  # type: ignore[assignment] # acts as one


def _shown(options: Namespace) -> dict[str, Any]:
    return {name: value for name, value in options.as_dict().items() if name not in ("config", "output")}
