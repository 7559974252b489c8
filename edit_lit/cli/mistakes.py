"""Telling a user's mistake, which is answered in one line, from a bug, which keeps its traceback."""

from __future__ import annotations

import inspect
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from edit_lit.utilities.errors import ConfigError

_OURS = ("edit_lit", "callbacks")
_INSTALLED = Path(sysconfig.get_path("purelib"))


def mistake_behind(error: BaseException | None) -> ConfigError | None:
    """The user's mistake that led to an error, which jsonargparse wraps in one of its own; none if it was a bug."""
    while error is not None and not isinstance(error, ConfigError):
        error = error.__cause__
    return error


@contextmanager
def naming_part(config: Mapping[str, object]) -> Iterator[None]:
    """Let a mistake in a part of a configuration that cannot be made name the part by its key.

    What a library refuses in the constructor of a class of its own is taken for a mistake in its options. What is
    raised by this package, by way of it, or by a user's class is not, unless it is a ConfigError.

    Args:
        config: The configuration, whose parts are mappings with ``class_path``.

    Raises:
        ConfigError: If it is a mistake.
    """
    try:
        yield
    except Exception as error:
        mistake = _refused_part(error, config)
        if mistake is None:
            raise
        raise mistake from error


def _refused_part(error: Exception, config: Mapping[str, object]) -> ConfigError | None:
    chain = list(_chain(error))
    first, frames = chain[-1], list[FrameType]()
    for frame in (frame for link in chain for frame in _frames(link)):
        frames = [] if _package(frame) == "jsonargparse" else [*frames, frame]
    if not frames:
        return mistake_behind(error)
    made = type(frames[0].f_locals.get("self"))
    if not isinstance(first, ConfigError) and not all(map(_is_library, frames)):
        return None
    option = _option_of(made, config)
    return ConfigError(str(first) if option is None else _named(str(first), option, made))


def _named(message: str, option: str, made: type) -> str:
    """A message about a class's option with the name that the option has in the configuration."""
    parts = option.split(".")
    first = message.split(" ", 1)[0]
    for start in range(len(parts)):
        if f"{first}.".startswith(".".join(parts[start:]) + "."):
            return ".".join([*parts[:start], message])
    if first.split(".")[0] in inspect.signature(made).parameters:
        return f"{option}.{message}"
    return f"{option}: {message}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what caused it, down to the first cause or to a mistake."""
    while error is not None:
        yield error
        error = None if isinstance(error, ConfigError) else error.__cause__


def _frames(error: BaseException) -> Iterator[FrameType]:
    place = error.__traceback__
    while place is not None:
        yield place.tb_frame
        place = place.tb_next


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).split(".")[0]


def _is_library(frame: FrameType) -> bool:
    """Whether a frame is of an installed library, not of this package or of the user's own code."""
    return _package(frame) not in _OURS and _INSTALLED in Path(frame.f_code.co_filename).parents


def _option_of(made: type, config: object, key: str = "") -> str | None:
    """The key under which a configuration names a class."""
    if not isinstance(config, Mapping):
        return None
    path = config.get("class_path")
    if isinstance(path, str) and path.rsplit(".", 1)[-1] == made.__name__:
        return key
    for name, value in config.items():
        inner = key if name == "init_args" else f"{key}.{name}".lstrip(".")
        for part in value if isinstance(value, list) else [value]:
            if (found := _option_of(made, part, inner)) is not None:
                return found
    return None
