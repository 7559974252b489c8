"""MkDocs hook: writes the reference pages from the code, at build time.

One API page for each package, whatever packages there are, and one options page for each kind of part that a
configuration can swap, with the text that the command line's ``--help`` prints.
"""

from __future__ import annotations

import contextlib
import html
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import getdoc, isabstract
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from edit_lit.cli import main
from edit_lit.editors import Editor
from edit_lit.editors.base.constraints import UpdateConstraint
from edit_lit.editors.closed_form.null_space import NullSpaceRule
from edit_lit.erasers import Eraser
from edit_lit.facts import FactSource
from edit_lit.guards import Guard
from edit_lit.language_model import LanguageModel
from edit_lit.records import Corpus
from edit_lit.rewriters import Rewriter
from edit_lit.tasks import PromptTemplate, Scorer, Task
from edit_lit.tuning import Tuning

ROOT = Path(__file__).parents[2]
PACKAGES = ("edit_lit", "callbacks")
WIDE = "100000"
"""Columns of a terminal on which no help text is ever wrapped."""

PARTS: dict[str, tuple[str, type[Any]]] = {
    "Editors": ("edit.editor", Editor),
    "Update constraints": ("edit.editor.constraint", UpdateConstraint),
    "Null-space rules": ("edit.editor.null_space", NullSpaceRule),
    "Corpora": ("edit.editor.key_covariance.corpus", Corpus),
    "Facts": ("data.edits", FactSource),
    "Tasks": ("data.task", Task),
    "Prompt templates": ("data.task.prompt", PromptTemplate),
    "Task scorers": ("data.task.scorers", Scorer),
    "Tunings": ("model.tuning", Tuning),
    "Guards": ("guards.use", Guard),
    "Rewriters": ("guards.use.rewriter", Rewriter),
    "Erasers": ("eraser", Eraser),
    "Language models": ("model.language_model", LanguageModel),
}
"""Parts that a configuration can swap: title of the page, the option that holds one, and the base class."""


@dataclass(frozen=True)
class Page:
    """A page of the reference.

    Args:
        title: Its name in the navigation.
        path: Its file, relative to the pages' folder.
        text: Its Markdown.
    """

    title: str
    path: str
    text: str


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name the generated pages in the navigation."""
    config.nav = [
        *(config.nav or []),
        {"Options": [{page.title: page.path} for page in option_pages()]},
        {"API": [{page.title: page.path} for page in api_pages()]},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those that are written by hand."""
    for page in (*option_pages(), *api_pages()):
        files.append(File.generated(config, page.path, content=page.text))
    return files


def api_pages() -> Iterator[Page]:
    """One page for each package, with the modules that lie directly in it."""
    for package in PACKAGES:
        for init in sorted((ROOT / package).rglob("__init__.py")):
            folder = init.parent
            name = ".".join(folder.relative_to(ROOT).parts)
            modules = [path.stem for path in sorted(folder.glob("*.py")) if not path.stem.startswith("__")]
            blocks = [f"# {name}\n\n::: {name}\n    options: {{members: false, show_root_heading: false}}\n"]
            blocks += [f"::: {name}.{module}\n" for module in modules]
            yield Page(name, f"reference/api/{name}.md", "\n".join(blocks))


def option_pages() -> Iterator[Page]:
    """The options of a run, and then those of each part."""
    yield Page("A run", "reference/options/run.md", _run_text())
    for title, (option, base) in PARTS.items():
        classes = sorted(_concrete(base), key=lambda part: part.__name__.lower())
        heading = f"# {title}\n\nClasses that `{option}` can name, and their options.\n"
        sections = [f"## {part.__name__}\n\n{_summary(part)}\n\n{_table(_class_help(part))}" for part in classes]
        slug = title.lower().replace(" ", "_").replace("-", "_")
        yield Page(title, f"reference/options/{slug}.md", "\n\n".join([heading, *sections]))


def _concrete(base: type[Any]) -> set[type[Any]]:
    """A class and those below it that can be made and that the package offers."""
    below = {part for child in base.__subclasses__() for part in _concrete(child)}
    offered = base.__module__.startswith("edit_lit.") and not base.__name__.startswith("_")
    has_options = base.__init__ is not object.__init__ or bool(base.__subclasses__()) is False
    return below | ({base} if offered and not isabstract(base) and has_options else set())


def _summary(part: type[Any]) -> str:
    """The docstring's first paragraph."""
    return " ".join((getdoc(part) or "").split("\n\n")[0].split())


def _class_help(part: type[Any]) -> str:
    parser = ArgumentParser(add_help=False)
    parser.add_class_arguments(part)
    with _wide_terminal():
        return str(parser.format_help())


def _run_text() -> str:
    """The page on ``fit``, without the Trainer's own options, which Lightning documents."""
    printed = io.StringIO()
    with _wide_terminal(), contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main(["fit", "--help"])
    return (
        "# A run\n\nOptions of `python -m edit_lit fit`. Those of `trainer` are Lightning's own: see "
        "`python -m edit_lit fit --help` and the documentation of Lightning's Trainer.\n\n"
        + _table(printed.getvalue(), without=("--trainer", "--print_config"))
    )


@contextlib.contextmanager
def _wide_terminal() -> Iterator[None]:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = WIDE
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


_OPTION = re.compile(r"^  (?:-\w [A-Z]+, )?--(?P<name>[\w.]+)(?: .*?)??(?:\s{2,}(?P<text>.*))?$")
_TYPE = re.compile(r"^(?P<text>.*?)\s*\((?P<required>required, )?type: (?P<type>.*?)(?:, default: (?P<default>.*))?\)$")


def _table(help_text: str, without: tuple[str, ...] = ()) -> str:
    """A help text as a table of options.

    Raises:
        ValueError: If the text shows options but none could be read, so that a build never loses them silently.
    """
    rows = [_row(name, text) for name, text in _options(help_text) if not f"--{name}".startswith(without or "\0")]
    if not rows:
        if "\n  --" in help_text:
            raise ValueError(f"no option can be read from this help text:\n{help_text}")
        return "No options.\n"
    return "\n".join(["| option | default | meaning |", "| --- | --- | --- |", *rows]) + "\n"


def _options(help_text: str) -> Iterator[tuple[str, str]]:
    """Names and texts; a text stands behind its option or alone on the next line."""
    name = ""
    for line in help_text.splitlines():
        match = _OPTION.match(line)
        if match:
            name, text = match["name"], match["text"]
        else:
            text = line.strip() if line.startswith(" " * 8) else None
        if name and text and not name.endswith(".help") and not text.startswith("Path to a configuration file"):
            yield name, text
            name = ""


def _row(name: str, text: str) -> str:
    match = _TYPE.match(text)
    kind, default = "", ""
    if match:
        text, kind = match["text"], f"<br>{_code(_short(match['type']))}"
        default = "required" if match["required"] else _code(_short(match["default"] or ""))
    meaning = text.replace("``", "`").replace("|", "\\|")
    return f"| {_code(name)}{kind} | {default} | {meaning} |"


def _short(text: str) -> str:
    """Types and defaults as YAML writes them, by short names, without lists of subclasses or addresses in memory."""
    text = re.sub(r", known subclasses: .*$", "", text)
    text = re.sub(r"<class '([^']*)'>", r"\1", text)
    text = re.sub(r"<(?:[\w.]+\.)?(\w+) object at 0x[0-9a-f]+>", r"\1", text)
    text = re.sub(r"\{'class_path': '(?:\w+\.)*(\w+)'", r"{\1", text)
    text = re.sub(r"^\{(\w+)\}$", r"\1", text)
    text = re.sub(r"Optional\[(.*)\]$", r"\1 | null", text)
    return {"True": "true", "False": "false", "": "''"}.get(text.strip(), text.strip())


def _code(text: str) -> str:
    """Code in a table's cell, where Markdown's own would end at a bar."""
    return f"<code>{html.escape(text, quote=False).replace('|', '&#124;')}</code>"
