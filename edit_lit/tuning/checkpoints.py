"""What a checkpoint must hold to be gone on from, and whether it belongs to this run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError

log = logging.getLogger(__name__)

_OF_OURS = ("state_dict", "edit", "random_states")
_TO_RESUME = ("optimizer_states", "lr_schedulers", "loops")


def check_checkpoint(
    checkpoint: Mapping[str, Any], edit: str | None, trainable: Mapping[str, Tensor], resume: bool
) -> None:
    """Refuse a checkpoint that is not a FineTuner's, or of another edit or tuning.

    Args:
        checkpoint: What Lightning read.
        edit: Hash of this run's edit; none if it edits nothing.
        trainable: The parameters that train in this run, by name.
        resume: Whether the training goes on from it, for which it must hold more than weights.

    Raises:
        ConfigError: Saying what differs, and the remedy.
    """
    missing = [key for key in (*_OF_OURS, *(_TO_RESUME if resume else ())) if key not in checkpoint]
    if missing:
        raise ConfigError(
            f"the checkpoint holds no {', '.join(missing)}: it is not one of a FineTuner, or it was saved with its "
            "weights only. Name a whole checkpoint of a run of this program."
        )
    if checkpoint["edit"] != edit:
        raise ConfigError(
            "the checkpoint was trained on another edit than this run applies. Resume with the editor, "
            "facts and model of that run."
        )
    stored = {name: tuple(tensor.shape) for name, tensor in checkpoint["state_dict"].items()}
    mine = {name: tuple(parameter.shape) for name, parameter in trainable.items()}
    odd = sorted(name for name in stored.keys() | mine.keys() if stored.get(name) != mine.get(name))
    if odd:
        raise ConfigError(
            f"the checkpoint's trained parameters are not this run's (such as {', '.join(odd[:3])}). "
            "Resume with the same model.tuning."
        )


def random_state_of(checkpoint: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """The random state with which this process goes on.

    None if the checkpoint is of another number of processes; a line says so.

    Args:
        checkpoint: What Lightning read.
    """
    states: list[dict[str, Tensor]] = checkpoint["random_states"]
    if len(states) == distributed.world_size():
        return states[distributed.rank()]
    if distributed.rank() == 0:
        log.info(
            "the checkpoint is of %d processes and this run has %d, so it draws other random numbers, such as "
            "dropout's, than the run that stopped",
            len(states),
            distributed.world_size(),
        )
    return None
