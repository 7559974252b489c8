"""Telling a user's mistake, which is answered in one line, from a bug, which keeps its traceback."""

from __future__ import annotations

from edit_lit.utilities.errors import ConfigError


def mistake_behind(error: BaseException | None) -> ConfigError | None:
    """The user's mistake that led to an error, which jsonargparse wraps in one of its own; none if it was a bug."""
    while error is not None and not isinstance(error, ConfigError):
        error = error.__cause__
    return error
