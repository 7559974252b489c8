"""The command line of a verb, looked at before the parser reads it: what stands where, and how often."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edit_lit.utilities.config_files import check_config_file
from edit_lit.utilities.errors import ConfigError

_CONFIG = ("--config", "-c")
_ALONE = ("--help", "-h", "--print_config")
_ANYWHERE = (*_ALONE, "--resume")


def check_command_line(args: Sequence[str]) -> None:
    """Refuse what a parser would take in a way that nobody meant.

    Args:
        args: The options behind the verb.

    Raises:
        ConfigError: If an option stands twice or before a file that may change it, a value belongs to no option, or a
            file cannot be read.
    """
    seen: dict[str, str | None] = {}
    for name, value in _options(args):
        if name in _CONFIG:
            early = next((option for option in seen if option not in _ANYWHERE), None)
            if early is not None:
                raise ConfigError(
                    f"{early} stands before --config {value}, which may replace it. Put it behind all --config."
                )
            if value is not None:
                check_config_file(value)
            continue
        if name in seen and not name.endswith("+") and name not in _ALONE:
            raise ConfigError(f"{name} is given twice, as {seen[name]} and as {value}. Keep one.")
        seen[name] = value


def _options(args: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Names and values of the options; none for one without a value."""
    words = list(args)
    while words:
        name, assigned, value = words.pop(0).partition("=")
        if not name.startswith("-"):
            file = name.endswith((".yaml", ".yml", ".json"))
            remedy = f"Did you mean --config {name}?" if file else "Write it behind one, or leave it out."
            raise ConfigError(f"{name!r} is the value of no option. {remedy}")
        if assigned:
            yield name, value
        elif name not in _ALONE and words and not words[0].startswith("--"):
            yield name, words.pop(0)
        else:
            yield name, None
