"""ConfigError: a mistake in options, records or files, as opposed to a bug."""

from __future__ import annotations


class ConfigError(ValueError):
    """An option, a record or a file that cannot be worked with.

    The message names it, its value and the remedy. The command line shows the message alone, without a traceback.
    """
