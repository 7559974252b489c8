"""The error of a user's mistake, as opposed to one of the program's."""

from __future__ import annotations


class ConfigError(ValueError):
    """An option, a record or a file that cannot be worked with.

    The message names it, its value and the remedy. The command line shows the message alone, without a traceback.
    """
