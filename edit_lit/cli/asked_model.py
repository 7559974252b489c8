"""The model that a verb looks at: its options, and the model itself with its edit and its adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from peft import PeftModel

from edit_lit.cli.devices import check_device
from edit_lit.cli.mistakes import naming_part
from edit_lit.cli.parser import EditArgumentParser
from edit_lit.deltas import Delta
from edit_lit.language_model import LanguageModel
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.text import first_line

MODEL_OPTIONS: dict[str, Any] = {
    "language_model": LanguageModel,
    "delta": str | None,
    "adapter": str | None,
    "device": str | None,
}
"""Annotations of the options, by name."""


def add_model_options(parser: EditArgumentParser) -> None:
    """Add the options that name the model.

    Args:
        parser: The parser of the verb.
    """
    parser.take_class = ("language_model",)
    parser.add_argument("--config", action="config", help="a file with these options; a later one overrides")
    parser.add_subclass_arguments(
        LanguageModel, "language_model", required=True, help="the model: its path, or a class"
    )
    parser.add_argument("--delta", type=str | None, default=None, help="an edit to put into it, a .safetensors file")
    parser.add_argument("--adapter", type=str | None, default=None, help="folder of a peft adapter for it to wear")
    parser.add_argument("--device", type=str | None, default=None, help="where it is put; else an accelerator if any")


def load_model(parser: EditArgumentParser, options: Namespace) -> LanguageModel:
    """The model with its edit and its adapter, on its device.

    Args:
        parser: The parser that has the options.
        options: The options.

    Raises:
        ConfigError: If the device is not there, or the model, the edit or the adapter cannot be loaded.
    """
    device = device_of(options)
    delta = None if options.delta is None else Delta.load(Path(options.delta))
    language_model = made(parser, options.language_model)
    if delta is not None:
        delta.apply(language_model)
    if options.adapter is not None:
        _put_on(language_model, options.adapter)
    return language_model.to(device)


def device_of(options: Namespace) -> torch.device:
    """The device that the options name, or else an accelerator if there is one.

    Raises:
        ConfigError: If it is not there.
    """
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    check_device(device)
    return torch.device(device)


def made(parser: EditArgumentParser, model: Namespace) -> LanguageModel:
    """The model of a class and its options, on the CPU.

    Args:
        parser: The parser that has the option ``language_model``.
        model: Its value.
    """
    chosen = Namespace(language_model=model)
    with naming_part(chosen.as_dict()):
        language_model: LanguageModel = parser.instantiate(chosen).language_model
    return language_model


def _put_on(language_model: LanguageModel, adapter: str) -> None:
    """Let a model wear an adapter that peft has saved."""
    if not Path(adapter, "adapter_config.json").is_file():
        raise ConfigError(f"--adapter {adapter} holds no adapter_config.json. Name the folder of an adapter of peft.")
    try:
        worn = PeftModel.from_pretrained(language_model.model, adapter)
    # Whatever does not fit comes out as errors of any type.
    except Exception as error:
        raise ConfigError(f"--adapter {adapter} does not fit the model: {first_line(error)}.") from error
    language_model.model = worn  # type: ignore[assignment] # acts as one
