"""One seed for the whole run, and those that options set apart."""

from __future__ import annotations

import os

from edit_lit.utilities.errors import ConfigError

SEED_VARIABLE = "PL_GLOBAL_SEED"
"""Where Lightning's ``seed_everything`` leaves its seed, for the other processes as well."""


def global_seed() -> int | None:
    """The run's one seed, which Lightning's ``seed_everything`` was given; none if it was not called.

    Raises:
        ConfigError: If the environment holds no number where Lightning keeps its seed.
    """
    given = os.environ.get(SEED_VARIABLE)
    if given is None:
        return None
    try:
        return int(given)
    except ValueError as error:
        raise ConfigError(f"{SEED_VARIABLE} is {given!r}, which is no seed. Unset it, or give a number.") from error


def seed_or_global(seed: int | None) -> int:
    """A seed that an option gives, or else the run's one seed; 0 if there is none.

    Args:
        seed: The option.
    """
    return seed if seed is not None else global_seed() or 0
