"""What a Trainer would refuse, before anything is loaded."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.strategies import StrategyRegistry

from edit_lit.utilities.errors import ConfigError

_MADE_ELSEWHERE = ("logger", "callbacks", "plugins", "profiler")
_LEAST = {
    "max_steps": -1,
    "accumulate_grad_batches": 1,
    "val_check_interval": 1e-9,
    "check_val_every_n_epoch": 1,
    "log_every_n_steps": 1,
    "num_sanity_val_steps": -1,
    "gradient_clip_val": 0,
    "min_steps": 0,
    "min_epochs": 0,
    "reload_dataloaders_every_n_epochs": 0,
}
"""The least values of options that Lightning takes as they are."""


def try_trainer(options: Mapping[str, Any]) -> None:
    """Make a Trainer of the options that are plain values, and throw it away.

    Args:
        options: The Trainer's options as the configuration has them.

    Raises:
        ConfigError: Naming the option, its value and what Lightning says of it.
    """
    for name, least in _LEAST.items():
        value = options.get(name)
        if isinstance(value, (int, float)) and not value >= least:
            wanted = "above 0" if least == _LEAST["val_check_interval"] else f"at least {least}"
            raise ConfigError(f"trainer.{name} is {value}; it must be {wanted}.")
    for least_, most in (("min_steps", "max_steps"), ("min_epochs", "max_epochs")):
        if (options.get(least_) or 0) > (options.get(most) or -1) > 0:
            raise ConfigError(
                f"trainer.{least_} is {options[least_]}, above trainer.{most}, {options[most]}. Lower it."
            )
    if options.get("barebones"):
        raise ConfigError("trainer.barebones is true, which leaves no room for callbacks that edit. Leave it out.")
    plain = {
        name: value
        for name, value in options.items()
        if name not in _MADE_ELSEWHERE and not (isinstance(value, Mapping) and "class_path" in value)
    }
    with _in_silence(), trainer_mistakes(options):
        L.Trainer(**{**plain, "logger": False, "enable_progress_bar": False, "enable_model_summary": False})


def check_seed(seed: int | bool | None) -> None:
    """Refuse a seed that no generator takes.

    Raises:
        ConfigError: If it is negative or has more than 32 bits.
    """
    if not isinstance(seed, bool) and seed is not None and not 0 <= seed < 2**32:
        raise ConfigError(f"seed_everything is {seed}; it must be at least 0 and below {2**32}.")


@contextmanager
def trainer_mistakes(options: Mapping[str, Any]) -> Iterator[None]:
    """Take what a Trainer's constructor refuses for a mistake in its options.

    Args:
        options: The Trainer's options as the configuration has them.

    Raises:
        ConfigError: Naming the option, its value and what Lightning says of it.
    """
    try:
        yield
    except ConfigError:
        raise
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError) as error:
        reason = str(error).strip()
        name = _named(reason, options)
        if name is None:
            raise ConfigError(f"trainer cannot be made with these options: {reason}") from error
        raise ConfigError(f"trainer.{name} is {options[name]}: {reason}{_alike(name, options[name])}") from error


def _named(reason: str, options: Mapping[str, Any]) -> str | None:
    """The option that a message is about: one that it names, or else one whose value it names."""
    given = {name: value for name, value in options.items() if value not in (None, True, False)}
    for of in (given, options):
        places = {name: match.start() for name in of if (match := re.search(rf"\b{name}\b", reason))}
        if places:
            return min(places, key=lambda name: places[name])
    said = _dashed(reason)
    whole = [name for name, value in given.items() if isinstance(value, str) and _dashed(value) in said]
    first = [name for name in ("accelerator", "strategy", "precision", "devices") if name in whole]
    return next(iter([*first, *whole]), None)


def _dashed(value: str) -> str:
    return value.lower().replace("_", "-")


def _alike(name: str, value: object) -> str:
    known = {
        "strategy": StrategyRegistry.available_strategies,
        "accelerator": AcceleratorRegistry.available_accelerators,
    }
    names = [*known[name](), "gpu", "auto"] if name in known else []
    found = get_close_matches(str(value), names, n=1)
    return f" Did you mean {found[0]}?" if found and found[0] != value else ""


@contextmanager
def _in_silence() -> Iterator[None]:
    """Nothing about the Trainer that is thrown away reaches the terminal; the one that runs says it again."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
