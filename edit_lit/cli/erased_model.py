"""The erased model in a folder that ``erase`` wrote, beside the run that it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors import SafetensorError
from torch import Tensor, nn

from edit_lit.cli.finished_run import FinishedRun
from edit_lit.language_model.module_tree import plain_parameters
from edit_lit.tuning.merging import of_adapters
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.json_files import read_json
from edit_lit.utilities.text import first_line

FILE = "erasure.json"
MODEL = "model"


@dataclass(frozen=True)
class ErasedModel:
    """What an eraser left of a run's model.

    Args:
        eraser: The eraser's class.
        weights: The weights of the run's own model, adapters left out, as they are in the erased one.
    """

    eraser: str
    weights: Mapping[nn.Parameter, Tensor]

    @classmethod
    def load(cls, finished: FinishedRun, folder: Path) -> ErasedModel:
        """Read the folder.

        Args:
            finished: The run whose edits were erased.
            folder: What ``erase`` wrote.

        Raises:
            ConfigError: If it is none, lacks the model, or is of another run or of other steps.
        """
        about = erasure(folder)
        _check_of(finished, folder, about)
        return cls(str(about["eraser"]["class_path"]).rpartition(".")[2], _weights(finished, folder))


def erasure(folder: Path) -> Mapping[str, Any]:
    """What ``erase`` noted in a folder, of which the model is there, too.

    Raises:
        ConfigError: If it is no such folder, or was written without the model.
    """
    remedy = "Name a folder that erase wrote: python -m edit_lit erase RUN --eraser Unwrite"
    about = read_json(folder / FILE, _known, "record of an erasing", remedy)
    if about is None:
        raise ConfigError(f"--erased is {folder}, which holds no {FILE}. {remedy}")
    if not (folder / MODEL).is_dir():
        raise ConfigError(
            f"--erased is {folder}, which holds the table alone. Erase again, with --weights true, into another folder."
        )
    return about


def _known(content: Any) -> Mapping[str, Any]:
    return {"run": str(content["run"]), "step": int(content["step"]), "eraser": {**content["eraser"]}}


def _check_of(finished: FinishedRun, folder: Path, about: Mapping[str, Any]) -> None:
    """Refuse what was made of another run, or of this one before it went on."""
    own = finished.run.folder.resolve()
    if own not in folder.resolve().parents and Path(about["run"]).resolve() != own:
        raise ConfigError(
            f"--erased is {folder}, which was made of {about['run']}, but the run is {finished.run.folder}. Name one "
            "of this run."
        )
    if about["step"] != finished.step:
        raise ConfigError(
            f"--erased is {folder}, which was made at step {about['step']}, but the run is at step {finished.step}. "
            "Erase again, into another folder."
        )


def _weights(finished: FinishedRun, folder: Path) -> dict[nn.Parameter, Tensor]:
    model = finished.language_model.model
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    try:
        loaded = type(plain).from_pretrained(folder / MODEL, dtype=plain.dtype, local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ConfigError(
            f"{folder / MODEL} is no whole model ({first_line(error)}). Erase again, into another folder."
        ) from error
    erased = {name: parameter.detach() for name, parameter in loaded.named_parameters()}
    added = {id(parameter) for parameter in of_adapters(model)}
    own = {name: one for name, one in plain_parameters(model) if id(one) not in added}
    if {name: one.shape for name, one in own.items()} != {name: one.shape for name, one in erased.items()}:
        raise ConfigError(f"{folder / MODEL} has other weights than the run's model. Name one of this run.")
    return {parameter: erased[name] for name, parameter in own.items()}
