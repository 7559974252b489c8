"""One sentence for each thing that can be wrong with an option: its name, its value, and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jsonargparse import ArgumentParser

from edit_lit.cli.complaints import Complaint, read_complaint
from edit_lit.cli.suggestions import (
    alike,
    annotation_at,
    choices_in,
    class_at,
    class_names,
    classes_in,
    did_you_mean,
    in_words,
    names_of,
)

_UNKNOWN = re.compile(
    r"(?:Option '([^']+)' is not accepted|(?:Group|Subcommand) '([^']+)' does not accept option '([^']+)'"
    r"|unrecognized arguments: (\S+).*|Key '([^']+)' is not expected)",
    re.DOTALL,
)
_MISSING = re.compile(r"the following arguments are required: (.*)", re.DOTALL)
_NO_VALUE = re.compile(r"argument (?:-\w/)?(--\S+): expected one argument")
_NO_CLASS = re.compile(r"Expected a dot import path string|Import path|Not a valid subclass")
_NO_IMPORT = re.compile(r"No module named|module '.*' has no attribute")
_TYPE = re.compile(r"<class '([^']+)'>")
_LEFT_OUT = {"params", "optimizer", "self", "return"}
"""What the program itself hands to an optimizer or a schedule."""
_LONGEST = 300


def sentence(message: str, verb: str, options: Mapping[str, Any], known: Sequence[str]) -> str:
    """What is wrong, in one line.

    Args:
        message: The parser's own message.
        verb: The verb whose options were parsed.
        options: The annotations of the options of the top, by name.
        known: All options of the top by dotted names.
    """
    complaint = read_complaint(message)
    if complaint.names[:1] == (verb,):
        complaint = Complaint(complaint.names[1:], complaint.reason, complaint.value, inside=complaint.inside[1:])
    takes = annotation_at(class_at(complaint.within) if complaint.within else options, complaint.inside)
    forms: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
        (_UNKNOWN, lambda match: _unknown(complaint, match, known)),
        (_MISSING, lambda match: _missing(complaint, match[1], verb)),
        (_NO_VALUE, lambda match: f"{match[1]} has no value. Give one behind it."),
        (_NO_CLASS, lambda _: _wrong_class(complaint, takes)),
        (_NO_IMPORT, lambda _: _no_import(complaint, takes)),
        (re.compile("Expected a "), lambda _: _wrong_type(complaint, takes)),
        (re.compile("Unable to load config"), lambda _: _no_section(complaint, takes, known)),
    )
    for pattern, said in forms:
        if match := pattern.match(complaint.reason):
            return in_one_line(said(match))
    return in_one_line(f"{_is(complaint)}: {complaint.reason}" if complaint.names else complaint.reason)


def in_one_line(text: str) -> str:
    """A text without line breaks, and not too long to be read."""
    line = " ".join(text.split())
    return line if len(line) <= 2 * _LONGEST else f"{line[: 2 * _LONGEST]} …"


def shown(value: str | None) -> str:
    """A value as a configuration would have it."""
    words = {"None": "null", "True": "true", "False": "false", None: "not usable", "": "empty"}
    if value in words:
        return words[value]
    assert value is not None
    short = value if len(value) <= _LONGEST else f"{value[:_LONGEST]} …"
    return short if re.match(r"[\d.\[{+-]", short) else repr(short)


def _is(complaint: Complaint) -> str:
    return f"{complaint.option} is {shown(complaint.value)}"


def _unknown(complaint: Complaint, match: re.Match[str], known: Sequence[str]) -> str:
    group = match[2] + "." if match[2] and match[0].startswith("Group") else ""
    given, dashes = group + next(filter(None, (match[1], match[3], match[4], match[5]))), ""
    given = given.split("=")[0]
    if complaint.within is not None:
        unknown = complaint.below(given.removeprefix("--"))
        prefix = ".".join(unknown.names[: len(unknown.names) - len(unknown.inside)])
        names = [*options_of_class(complaint.within), "class_path", "init_args"]
        name = complaint.within.rsplit(".", 1)[-1]
        found = alike(".".join(unknown.inside), names)
        remedy = f" Did you mean {prefix}.{found}?" if found else f" It has {', '.join(names[:-2]) or 'none'}."
        return f"{unknown.option} is no option of {name}.{remedy}"
    if given.startswith("--"):
        given, dashes = given[2:], "--"
    elif match[4]:
        return f"{given!r} belongs to no option. Write it as the value of one, or leave it out."
    option = complaint.below(given).option
    found = alike(option, known)
    group = option.rpartition(".")[0]
    beside = [name for name in known if group and name.rpartition(".")[0] == group]
    remedy = (
        f"Did you mean {dashes}{found}?"
        if found
        else f"{group} has {', '.join(name.removeprefix(group + '.') for name in beside)}."
        if 0 < len(beside) < 10
        else "--help lists the options."
    )
    return f"{dashes}{option} is no option. {remedy}"


def _missing(complaint: Complaint, names: str, verb: str) -> str:
    listed = [complaint.below(name.strip().removeprefix(f"{verb}.")).option for name in names.split(",")]
    needs = f"; {complaint.within.rsplit('.', 1)[-1]} needs it" if complaint.within else ""
    are, them = ("is", "it") if len(listed) == 1 else ("are", "them")
    return f"{' and '.join(listed)} {are} not given{needs}. Add {them}, or name a file with {them}: --config FILE."


def _wrong_class(complaint: Complaint, takes: Any) -> str:
    names = class_names(takes)
    if not names:
        return _wrong_type(complaint, takes)
    given = (complaint.value or "").rsplit(".", 1)[-1]
    if not re.fullmatch(r"\w*[A-Za-z]\w*", given) or given in ("None", "True", "False"):
        return _wrong_type(complaint, takes)
    kinds = " or ".join(dict.fromkeys(cls.__name__ for cls in classes_in(takes)))
    return f"{_is(complaint)}, which is no {kinds}.{did_you_mean(given, names + choices_in(takes))}"


def _no_import(complaint: Complaint, takes: Any) -> str:
    meant = alike((complaint.value or "").rsplit(".", 1)[-1], class_names(takes))
    remedy = f"Did you mean {meant}?" if meant else "Correct the path."
    return f"{_is(complaint)}, which cannot be imported ({complaint.reason}). {remedy}"


def _wrong_type(complaint: Complaint, takes: Any) -> str:
    if takes is None:
        return f"{_is(complaint)}: {_TYPE.sub(lambda match: match[1], complaint.reason)}."
    choices, given = choices_in(takes), complaint.value or ""
    found = alike(given, choices) if choices else None
    return f"{_is(complaint)}, but it takes {in_words(takes)}.{f' Did you mean {found}?' if found else ''}"


def _no_section(complaint: Complaint, takes: Any, known: Sequence[str]) -> str:
    value = re.search(r"config '(.*?)'", complaint.reason)
    return f"{complaint.option} is {shown(value[1] if value else None)}, but it takes its options by name." + (
        did_you_mean(complaint.option + ".", [name for name in known if name.startswith(complaint.option + ".")])
        if takes is None
        else ""
    )


def options_of_class(path: str) -> list[str]:
    """The dotted names of a class's options; none if they are unknown."""
    cls = class_at(path)
    if not isinstance(cls, type):
        return []
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, fail_untyped=False)
    return [name for name in names_of(parser.get_defaults().keys()) if name not in _LEFT_OUT]
