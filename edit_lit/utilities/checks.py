"""Range checks of options: a number out of its range is refused by name, value and remedy."""

from __future__ import annotations

import math
from typing import Any

from edit_lit.utilities.errors import ConfigError


def check_number(
    option: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    null: str | None = None,
) -> None:
    """Refuse a number outside its range, infinity, and what is no number.

    Args:
        option: What the message calls it.
        value: The option's value.
        least: The smallest value that is allowed.
        above: A bound that the value must exceed.
        most: The largest value that is allowed.
        below: A bound that the value must stay under.
        null: What null stands for, such as ``for all``; null is refused if not given.

    Raises:
        ConfigError: Naming option, value and range.

    Examples:
        >>> check_number("limit", 3, least=1, null="for all")
        >>> check_number("limit", -3, least=1, null="for all")
        Traceback (most recent call last):
        ...
        edit_lit.utilities.errors.ConfigError: limit is -3; it must be at least 1, or null for all.
    """
    if value is None and null is not None:
        return
    bounds = {"at least": least, "above": above, "at most": most, "below": below}
    wanted = " and ".join(f"{name} {bound:g}" for name, bound in bounds.items() if bound is not None) or "finite"
    inside = (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    )
    if not inside:
        raise ConfigError(f"{option} is {value!r}; it must be {wanted}{f', or null {null}' if null else ''}.")
