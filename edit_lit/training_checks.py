"""What can be refused about a training before anything is computed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, SingleDeviceStrategy
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from edit_lit.utilities.errors import ConfigError

HALF_PRECISION = (
    "trainable weights are kept in 16 bits, where small updates are lost to rounding. "
    "Load with dtype float32 and set trainer.precision to bf16-mixed."
)


def check_strategy(trainer: L.Trainer) -> None:
    """Refuse a strategy under which a device holds a part of the model only.

    Raises:
        ConfigError: Naming the strategy.
    """
    strategy = trainer.strategy
    whole = isinstance(strategy, (SingleDeviceStrategy, DDPStrategy)) and not isinstance(strategy, DeepSpeedStrategy)
    if not whole:
        raise ConfigError(
            f"trainer.strategy is {type(strategy).__name__}, which splits the model. Editing and probing need it whole "
            "on each device. Use auto or ddp, and an adapter or gradient checkpointing if memory is short."
        )


def check_trainer(trainer: L.Trainer) -> None:
    """Refuse options of a Trainer under which nothing would be trained, or nothing sensible.

    Raises:
        ConfigError: Naming the option, its value and the remedy.
    """
    check_strategy(trainer)
    if trainer.precision == "16-true":
        raise ConfigError(
            "trainer.precision is 16-true, in which the optimizer's updates overflow. "
            "Use bf16-mixed or 16-mixed, with a model of dtype float32."
        )
    if trainer.precision == "bf16-true":
        warnings.warn(HALF_PRECISION, stacklevel=2)
    if trainer.accumulate_grad_batches < 1:
        raise ConfigError(
            f"trainer.accumulate_grad_batches is {trainer.accumulate_grad_batches}; it must be at least 1."
        )
    limits = {
        "max_steps": trainer.max_steps,
        "max_epochs": trainer.max_epochs,
        "limit_train_batches": trainer.limit_train_batches,
    }
    for option, value in limits.items():
        if value == 0:
            raise ConfigError(
                f"trainer.{option} is 0, so nothing would be trained. Raise it; to edit only, there is the verb edit."
            )


def check_batches(trainer: L.Trainer, batches: int | None) -> None:
    """Refuse a Trainer whose numbers of batches do not go with the data.

    Args:
        trainer: The Trainer.
        batches: Training batches of an epoch; none if they are streamed, so that nobody knows.

    Raises:
        ConfigError: Naming the option, its value and the remedy.
    """
    interval, limit = trainer.val_check_interval, trainer.limit_train_batches
    if batches is None:
        if trainer.max_steps < 0:
            raise ConfigError("the task streams its examples, so their number is unknown. Give trainer.max_steps.")
        if isinstance(interval, float) and interval != 1:
            raise ConfigError(
                f"trainer.val_check_interval is {interval} of an epoch, but the task streams its examples, so their "
                "number is unknown. Give a number of batches."
            )
        return
    kept = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    if kept < 1:
        raise ConfigError(f"trainer.limit_train_batches is {limit}, which is none of {batches} batches. Raise it.")
    by_epoch = trainer.check_val_every_n_epoch is not None
    if isinstance(interval, int) and by_epoch and interval > kept and trainer.limit_val_batches > 0:
        raise ConfigError(
            f"trainer.val_check_interval is {interval}, but an epoch has {kept} batches. Lower it, or set "
            "trainer.check_val_every_n_epoch to null to count across epochs."
        )


def check_optimizer(optimizer: OptimizerCallable, lr_scheduler: LRSchedulerCallable | None) -> None:
    """Refuse an optimizer or a schedule that cannot be made, or that could not train.

    Args:
        optimizer: Makes the optimizer; tried on a parameter that is thrown away.
        lr_scheduler: Makes the schedule, if there is one.

    Raises:
        ConfigError: Naming the option and what is wrong.
    """
    with _refused_as("model.optimizer"):
        tried = optimizer(iter([nn.Parameter(torch.zeros(2, 2))]))
    for group in tried.param_groups:
        rate = group.get("lr")
        if rate is not None and not (math.isfinite(rate) and rate > 0):
            raise ConfigError(f"model.optimizer has the learning rate {float(rate)}. Give a finite number above 0.")
    if lr_scheduler is None:
        return
    with _refused_as("model.lr_scheduler"):
        schedule = lr_scheduler(tried)
    if isinstance(schedule, ReduceLROnPlateau):
        raise ConfigError(
            "model.lr_scheduler is ReduceLROnPlateau, but schedules are stepped after each optimizer step, when there "
            "is no new score to look at. Use another schedule."
        )


@contextmanager
def _refused_as(option: str) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{option} cannot be made: {str(error).rstrip('.')}. Correct its options.") from error
