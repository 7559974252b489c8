"""What is done about malformed records: refuse the first, or leave them out and count them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from edit_lit.utilities.errors import ConfigError

OnError = Literal["raise", "skip"]


def check_on_error(on_error: str) -> None:
    """Refuse a value of ``on_error`` that means nothing.

    Raises:
        ConfigError: Naming option, value and remedy.
    """
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"on_error is {on_error!r}; use 'raise' or 'skip'.")


class MalformedRecords:
    """Names the record that an error is about, and raises the error or counts it.

    Args:
        on_error: ``raise`` or ``skip``.
    """

    def __init__(self, on_error: OnError) -> None:
        self.on_error = on_error
        self.errors: list[ConfigError] = []

    @contextmanager
    def within(self, where: str) -> Iterator[None]:
        """Work on one record, which is left out if it turns out malformed.

        Args:
            where: The record's place, which the error names.

        Raises:
            ConfigError: If the record is malformed, unless such records are skipped.
        """
        try:
            yield
        except ConfigError as error:
            if not str(error).startswith(where):
                error = ConfigError(f"{where}: {error}")
            if self.on_error == "raise":
                raise error from None
            self.errors.append(error)

    def warn(self, total: int) -> None:
        """Say how many of all records were left out, and why the first of them was."""
        if self.errors:
            warnings.warn(
                f"{len(self.errors)} of {total} records are malformed and left out, the first because: "
                f"{self.errors[0]}",
                stacklevel=3,
            )
