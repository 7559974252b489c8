"""The verb ``detect``: whether a model looks edited, where, and how sure that is."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

from jsonargparse import Namespace

# By importing them the short names of their classes, such as JsonFacts, become known to the parser.
import edit_lit.facts
import edit_lit.world  # noqa: F401
from edit_lit.cli.asked_model import MODEL_OPTIONS, add_model_options, device_of, load_model, made
from edit_lit.cli.messages import quiet_libraries
from edit_lit.cli.mistakes import naming_part
from edit_lit.cli.options import in_one_line
from edit_lit.cli.parser import EditArgumentParser
from edit_lit.cli.suggestions import class_names, names_of
from edit_lit.detection import Detection, LoadedDetection
from edit_lit.detection.report import MOST_NAMED, tables, write_files
from edit_lit.language_model import LanguageModel
from edit_lit.reports.environment import versions
from edit_lit.reports.terminal import print_table
from edit_lit.utilities.errors import ConfigError

log = logging.getLogger(__name__)

_OWN: dict[str, Any] = {**MODEL_OPTIONS, "release": str | None, "unedited": list[str], "output": str}


def detect(program: str, words: Sequence[str]) -> None:
    """Look at a model, print what was found, and write the files.

    Args:
        program: The program's name in help texts.
        words: The options, with the model before them or among them.

    Raises:
        ConfigError: If an option, the facts or a model cannot be used; nothing was computed then.
    """
    quiet_libraries()
    parser = detect_parser(program)
    if {"-h", "--help"} & set(words):
        parser.print_help()
        return
    with in_one_line("detect", parser, _OWN | get_type_hints(Detection.__init__)):
        options = parser.parse_args(with_model_named(words))
    _check_unedited(options)
    loaded = _detection(parser, options).load()
    language_model = load_model(parser, options)
    started = time.perf_counter()
    folder = _run(parser, options, loaded, language_model)
    log.info("written: %s; it took %.1f s", folder, time.perf_counter() - started)


def option_names() -> list[str]:
    """The verb's options by dotted names, without those of the classes that an option takes."""
    return names_of(detect_parser("").get_defaults().keys())


def detect_parser(program: str) -> EditArgumentParser:
    """The parser of the verb's options.

    Args:
        program: The program's name in help texts.
    """
    parser = EditArgumentParser(
        prog=f"{program} detect",
        usage=f"{program} detect MODEL [options]",
        description="Whether a model looks edited, where, and how sure that is.",
    )
    add_model_options(parser)
    parser.add_argument(
        "--release",
        type=str | None,
        default=None,
        help="the unedited model that it was made of: its path, or a class",
    )
    parser.add_argument(
        "--unedited",
        type=str,
        nargs="*",
        default=[],
        help="models of its architecture that nobody edited, by which the rate of false alarms is set; with a release, "
        "such that were made from it",
    )
    parser.add_argument("--output", type=str, default="detection", help="folder of the files that are written")
    parser.add_class_arguments(Detection, None)
    return parser


def with_model_named(words: Sequence[str]) -> list[str]:
    """The options, with a model that stands before them as the option that it stands for.

    Args:
        words: The words behind the verb.

    Examples:
        >>> with_model_named(["build/model", "--alarm_rate", "0.1"])
        ['--language_model.path', 'build/model', '--alarm_rate', '0.1']
        >>> with_model_named(["WorldModel"])
        ['--language_model', 'WorldModel']
    """
    if not words or words[0].startswith("-"):
        return list(words)
    return [_option(words[0]), words[0], *words[1:]]


def _option(model: str) -> str:
    return "--language_model" if model in class_names(LanguageModel) else "--language_model.path"


def _run(
    parser: EditArgumentParser, options: Namespace, loaded: LoadedDetection, language_model: LanguageModel
) -> Path:
    """Look, print and write; where the files are."""
    started = time.perf_counter()
    load = partial(_other, parser, options)
    release = None if options.release is None else (options.release, load("release", options.release))
    finding = loaded.run(language_model, release, {name: partial(load, "unedited", name) for name in options.unedited})
    about = {"options": _shown(options), "versions": versions(), "seconds": round(time.perf_counter() - started, 1)}
    folder = Path(options.output)
    write_files(folder, finding, about)
    for table in tables(finding, MOST_NAMED):
        print_table(table.title, table.header, table.rows, table.notes)
    return folder


def _detection(parser: EditArgumentParser, options: Namespace) -> Detection:
    """What is asked, made without the model, which takes longest to load."""
    own = options.clone()
    for name in _OWN:
        own.pop(name, None)
    with naming_part(own.as_dict()):
        parts = parser.instantiate(own)
        return Detection(**{name: parts[name] for name in vars(parts) if name != "config"})


def _check_unedited(options: Namespace) -> None:
    """Refuse a model that counts twice, and the model itself among the unedited ones."""
    for place, name in enumerate(options.unedited):
        if name in options.unedited[:place]:
            raise ConfigError(f"--unedited names {name} twice. Each model counts once.")
        own = (options.language_model.get("init_args") or Namespace()).get("path")
        if own is not None and Path(own).resolve() == Path(name).resolve():
            raise ConfigError(f"--unedited names {name}, the model that is looked at. Leave it out.")


def _other(parser: EditArgumentParser, options: Namespace, option: str, name: str) -> LanguageModel:
    """Another model, loaded as the one that is looked at."""
    given = options.language_model
    if name in class_names(LanguageModel):
        chosen: Any = name
    else:
        alike = given.class_path.rsplit(".", 1)[-1] == LanguageModel.__name__
        chosen = {"path": name}
        if alike:
            chosen = {**given.init_args.as_dict(), "path": name, "revision": None}
    try:
        model = made(parser, parser.parse_object({"language_model": chosen}).language_model)
    except ConfigError as error:
        raise ConfigError(f"--{option} {name}: {error}") from error
    return model.to(device_of(options))


def _shown(options: Namespace) -> dict[str, Any]:
    return {name: value for name, value in options.as_dict().items() if name not in ("config", "output")}
