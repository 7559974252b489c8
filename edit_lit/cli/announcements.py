"""What is said at both ends of a verb: what is worked on, and where the files are."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from edit_lit.language_model import LanguageModel

log = logging.getLogger(__name__)


@rank_zero_only
def announce_model(language_model: LanguageModel, trainer: L.Trainer) -> None:
    """Say which model was loaded, of what size and type, and where it will run."""
    own_name = type(language_model) is not LanguageModel
    name = type(language_model).__name__ if own_name else language_model.model.name_or_path
    parameters = list(language_model.model.parameters())
    types = "/".join(sorted({str(parameter.dtype).removeprefix("torch.") for parameter in parameters}))
    count = sum(parameter.numel() for parameter in parameters)
    log.info("model: %s, %s parameters in %s, on %s", name, f"{count:,}", types, _device_text(trainer))


def _device_text(trainer: L.Trainer) -> str:
    """The device, and how many processes have one each."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    return name if trainer.world_size == 1 else f"{trainer.world_size} devices ({name})"


@rank_zero_only
def announce_folder(folder: Path, trainer: L.Trainer) -> None:
    """Say where the run's files are, and how to look at its curves."""
    if any(isinstance(logger, TensorBoardLogger) for logger in trainer.loggers):
        log.info("the run is in %s; its curves: tensorboard --logdir %s", folder, shlex.quote(str(folder)))
    else:
        log.info("the run is in %s", folder)
