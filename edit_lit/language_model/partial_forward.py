"""Forward passes through some of a model's blocks.

The model's own ``forward`` always runs, so that masks, positions and whatever else a family prepares for its
blocks stay its own business; blocks that are not wanted hand their input on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from edit_lit.language_model.model import LanguageModel
from edit_lit.language_model.token_batch import TokenBatch


@contextmanager
def _skipped(language_model: LanguageModel, layers: range, output: Tensor | None = None) -> Iterator[None]:
    """Skip blocks: they return their input, or a given output, without computing anything."""
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
    rows: TokenBatch,
    where: tuple[Tensor, Tensor] | None = None,
    resume: tuple[int, Tensor] | None = None,
    stop_after: int | None = None,
) -> Tensor:
    """Run the model, or only some of its blocks, and give the logits at some positions.

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
