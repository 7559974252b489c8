"""The parts of an adapter of peft, one for each module that it is put on, which can be switched off one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

_WRAPPED = ("base_layer.", "original_module.")
"""Where peft keeps the module that it wraps."""


@dataclass(frozen=True)
class AdapterPart:
    """What an adapter puts on one module.

    Args:
        module: peft's module, which stands in the place of the one that it wraps.
        switch: The same, as what can be switched off.
        parameters: The adapter's own parameters in it.
    """

    module: nn.Module
    switch: BaseTunerLayer | AuxiliaryTrainingWrapper
    parameters: tuple[nn.Parameter, ...]

    def wrapped(self) -> Iterator[nn.Parameter]:
        """The parameters of the module that is wrapped."""
        for name, parameter in self.module.named_parameters():
            if name.startswith(_WRAPPED):
                yield parameter


def adapter_parts(model: nn.Module) -> list[AdapterPart]:
    """All parts of the adapters that a model wears; none without one."""
    parts: list[AdapterPart] = []
    inside: set[nn.Module] = set()
    for module in model.modules():
        if module in inside or not isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper)):
            continue
        # An adapter inside another one's own modules is switched off with that.
        inside |= {inner for name, inner in module.named_modules() if not f"{name}.".startswith(_WRAPPED)}
        own = (parameter for name, parameter in module.named_parameters() if not name.startswith(_WRAPPED))
        parts.append(AdapterPart(module, module, tuple(own)))
    return parts


@contextmanager
def switched_off(parts: Sequence[AdapterPart]) -> Iterator[None]:
    """Let some parts of an adapter do nothing for the length of a ``with`` block.

    What is off already stays off; which parameters train stays as it is.
    """
    with _switched(parts, on=False):
        yield


@contextmanager
def switched_on(parts: Sequence[AdapterPart]) -> Iterator[None]:
    """Let some parts of an adapter that are switched off do their work for the length of a ``with`` block.

    Which parameters train stays as it is.
    """
    with _switched(parts, on=True):
        yield


@contextmanager
def _switched(parts: Sequence[AdapterPart], on: bool) -> Iterator[None]:
    others = [part.switch for part in parts if part.switch.disable_adapters == on]
    flags = {parameter: parameter.requires_grad for part in parts for parameter in part.module.parameters()}

    def switch(enabled: bool) -> None:
        for adapter in others:
            adapter.enable_adapters(enabled)
        # peft takes the mark off the parameters of what it switches off, and puts it on all when it switches on.
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)

    try:
        switch(on)
        yield
    finally:
        switch(not on)
