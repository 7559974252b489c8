"""One seed for the whole run, and those that options set apart."""

from __future__ import annotations

import os

from edit_lit.utilities.errors import ConfigError

SEED_VARIABLE = "PL_GLOBAL_SEED"
"""Where Lightning's ``seed_everything`` leaves its seed, for the other processes as well."""


def seed_or_global(seed: int | None) -> int:
    """A seed that an option gives, or else the run's one seed.

    Args:
        seed: The option. If not given, what Lightning's ``seed_everything`` was given; 0 if it was not called.

    Raises:
        ConfigError: If the environment holds no number where Lightning keeps its seed.
    """
    if seed is not None:
        return seed
    given = os.environ.get(SEED_VARIABLE, "0")
    try:
        return int(given)
    except ValueError as error:
        raise ConfigError(f"{SEED_VARIABLE} is {given!r}, which is no seed. Unset it, or give a number.") from error
