"""Where a checkpoint stands in Lightning's loops, so that a resumed run neither skips nor repeats anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L

_LOOP = "epoch_loop."


def put_behind_step(loops: dict[str, Any], epoch_over: bool, epoch_closed: bool) -> None:
    """Make the state of the loops, saved between two steps, that of a run that goes on with the next batch.

    Lightning expects to be saved while a batch ends, before the validation of that step. By now all of the step is
    done. So it is written as Lightning will read it: where one batch less is completed than processed, Lightning
    completes that batch when it resumes, and runs no validation for it.

    Args:
        loops: The state of the fit loop in a checkpoint; changed in place. No batch may have begun since the last one
            was completed, but for having been fetched.
        epoch_over: Whether that was the last batch of its epoch, so that the next one is the first of the next.
        epoch_closed: Whether the epoch's end has been counted, as it is when training ends.
    """
    batches = loops[f"{_LOOP}batch_progress"]
    for part in ("total", "current"):
        done = 0 if part == "current" and epoch_over else batches[part]["completed"]
        batches[part].update(ready=done, started=done, processed=done, completed=done - 1)
    batches["is_last_batch"] = False
    # Lightning adds the optimizer step of the batch that it completes.
    loops[f"{_LOOP}state_dict"]["_batches_that_stepped"] -= 1
    if epoch_closed and not epoch_over:
        # Lightning counts an epoch as over wherever training ends in it.
        for part in ("total", "current"):
            for counter in ("processed", "completed"):
                loops["epoch_progress"][part][counter] -= 1


def await_validation(loops: dict[str, Any]) -> None:
    """Make the state of the loops, saved while a batch ends, that of a run whose validation has just begun.

    Args:
        loops: The state of the fit loop in a checkpoint; changed in place.
    """
    for part in ("total", "current"):
        loops[f"{_LOOP}batch_progress"][part]["completed"] += 1
    validation = loops[f"{_LOOP}val_loop.batch_progress"]
    validation["current"].update(ready=0, started=0, processed=0, completed=0)
    # The first batch has been started and not processed, by which Lightning tells a validation that was cut off.
    total = validation["total"]
    begun = total["completed"] + 1
    total.update(ready=begun, started=begun, processed=begun - 1, completed=begun - 1)


def ends_batch(loops: Mapping[str, Any]) -> bool:
    """Whether the state of the loops was saved while a batch ends, as a callback does behind a step."""
    total = loops[f"{_LOOP}batch_progress"]["total"]
    return bool(total["processed"] == total["ready"] == total["completed"] + 1)


def validation_is_due(trainer: L.Trainer) -> bool:
    """Whether Lightning validates behind the batch that is ending."""
    every_epochs, every_batches = trainer.check_val_every_n_epoch, trainer.val_check_batch
    if not trainer.enable_validation or every_batches is None or every_batches == float("inf"):
        return False
    if every_epochs is None:
        return bool((trainer.fit_loop.total_batch_idx + 1) % every_batches == 0)
    return (trainer.current_epoch + 1) % every_epochs == 0 and bool(
        (trainer.fit_loop.batch_idx + 1) % every_batches == 0
    )
