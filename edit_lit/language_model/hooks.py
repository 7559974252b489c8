"""Forward hooks that record or change a module's input or output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import DynamicCache

from edit_lit.language_model.model import LanguageModel
from edit_lit.language_model.token_batch import TokenBatch


@dataclass
class Record:
    """A module's last recorded input or output."""

    value: Tensor | None = None

    def take(self, rows: TokenBatch | None = None) -> Tensor:
        """The recorded tensor, which is dropped here so that its memory can be freed.

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
class KVCacheRecord:
    """The KV cache after the last forward pass, with the keys and values that the pass was given."""

    cache: DynamicCache


@contextmanager
def recorded_kv_cache(language_model: LanguageModel) -> Iterator[KVCacheRecord]:
    """Record the KV cache of a forward pass, of all layers that run."""
    # Found out beforehand, or the pass of one token that finds it out would leave that token in the cache.
    _ = language_model.blocks_return_tuples
    record = KVCacheRecord(DynamicCache())

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
    """Replace a module's output, or the first part of it, by a function of it."""

    def replace(_: nn.Module, __: tuple[Any, ...], output: Tensor | tuple[Tensor, ...]) -> Any:
        return (shift(output[0]), *output[1:]) if isinstance(output, tuple) else shift(output)

    handle = module.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def shifted_input(module: nn.Module, shift: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace a module's first input by a function of it."""

    def replace(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (shift(inputs[0]), *inputs[1:])

    handle = module.register_forward_pre_hook(replace)
    try:
        yield
    finally:
        handle.remove()
