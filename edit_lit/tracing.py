"""Running a part of a model: recording, replacing and cutting short the flow through its blocks.

The model's own ``forward`` always runs, so that masks, positions and whatever else a family prepares for its
blocks stay its own business; blocks that are not wanted hand their input on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from edit_lit.batching import Rows
from edit_lit.language_model import LanguageModel


@dataclass
class Record:
    """The tensor that last went into or came out of a module."""

    value: Tensor | None = None

    def take(self, rows: Rows | None = None) -> Tensor:
        """The recorded tensor, forgotten here so that its memory can be freed.

        Args:
            rows: The input of the pass, to get [rows, length, size] also from the families that flatten rows and
                positions into one axis around their MLPs.
        """
        assert self.value is not None, "the recorded module did not run"
        value, self.value = self.value, None
        return value if rows is None else value.view(*rows.ids.shape, -1)


@contextmanager
def recorded_input(module: nn.Module) -> Iterator[Record]:
    """Record a module's first input."""
    record = Record()

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        record.value = inputs[0]

    handle = module.register_forward_pre_hook(keep)
    try:
        yield record
    finally:
        handle.remove()


@contextmanager
def recorded_output(module: nn.Module) -> Iterator[Record]:
    """Record a module's output, or the first part of it."""
    record = Record()

    def keep(_: nn.Module, __: tuple[Any, ...], output: Tensor | tuple[Tensor, ...]) -> None:
        record.value = output[0] if isinstance(output, tuple) else output

    handle = module.register_forward_hook(keep)
    try:
        yield record
    finally:
        handle.remove()


@dataclass
class PastRecord:
    """The attention keys and values that the last forward pass left behind, those it was given among them."""

    cache: DynamicCache


@contextmanager
def recorded_past(language_model: LanguageModel) -> Iterator[PastRecord]:
    """Record the attention keys and values of a forward pass, of all layers that run."""
    # Found out beforehand, or the pass of one token that finds it out would leave that token in the cache.
    _ = language_model.blocks_return_tuples
    record = PastRecord(DynamicCache())

    def attach(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        record.cache = named.get("past_key_values", record.cache)
        return inputs, {**named, "past_key_values": record.cache, "use_cache": True}

    handle = language_model.model.register_forward_pre_hook(attach, with_kwargs=True)
    try:
        yield record
    finally:
        handle.remove()


@contextmanager
def shifted_output(module: nn.Module, shift: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace a module's output, or the first part of it, by a function of it that keeps its shape."""

    def replace(_: nn.Module, __: tuple[Any, ...], output: Tensor | tuple[Tensor, ...]) -> Any:
        return (shift(output[0]), *output[1:]) if isinstance(output, tuple) else shift(output)

    handle = module.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _skipped(language_model: LanguageModel, layers: range, output: Tensor | None = None) -> Iterator[None]:
    """Let blocks return their input, or a given output, without computing anything."""
    as_tuple = language_model.blocks_return_tuples

    def skip(*inputs: Any, **named: Any) -> Any:
        hidden = output if output is not None else (inputs[0] if inputs else named["hidden_states"])
        return (hidden,) if as_tuple else hidden

    with ExitStack() as undo:
        for layer in layers:
            block = language_model.blocks[layer]
            # An attribute of the instance hides the class's method until it is deleted.
            block.forward = skip
            undo.callback(delattr, block, "forward")
        yield


def run_blocks(
    language_model: LanguageModel,
    rows: Rows,
    where: tuple[Tensor, Tensor] | None = None,
    resume: tuple[int, Tensor] | None = None,
    stop_after: int | None = None,
) -> Tensor:
    """Run some of the blocks.

    Args:
        language_model: The model.
        rows: Its input.
        where: Row and column of each position whose logits are wanted; none if not given.
        resume: A layer and its known output [rows, length, d]: neither it nor those below are computed.
        stop_after: The last layer to compute; its output goes on to the head unchanged.

    Returns:
        Logits at ``where``, [positions, vocabulary].
    """
    if where is None:
        nowhere = torch.zeros(0, dtype=torch.long, device=rows.ids.device)
        where = (nowhere, nowhere)
    with ExitStack() as stack:
        if resume is not None:
            layer, hidden = resume
            stack.enter_context(_skipped(language_model, range(layer + 1), hidden))
        if stop_after is not None:
            stack.enter_context(_skipped(language_model, range(stop_after + 1, len(language_model.blocks))))
        return language_model.logits_at(rows, where)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; each module's own mode comes back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Evaluation mode in which gradients reach activations but no weight; all flags come back afterwards."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    with evaluating(model), torch.enable_grad():
        model.requires_grad_(False)
        try:
            yield
        finally:
            for parameter, flag in flags:
                parameter.requires_grad_(flag)
