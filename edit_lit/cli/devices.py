"""Where a verb puts its model."""

from __future__ import annotations

import torch

from edit_lit.utilities.errors import ConfigError


def check_device(name: str) -> None:
    """Refuse a device that this machine lacks.

    Raises:
        ConfigError: Naming it and the remedy.
    """
    try:
        torch.zeros(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device is {name!r}, which is not there. Use cpu, or leave it out.") from error
