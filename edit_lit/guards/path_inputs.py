"""What the matrices of a model are given while it reads some texts.

Shape legend: T tokens, N inputs of a matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from edit_lit.language_model import LanguageModel
from edit_lit.language_model.hooks import recorded_input
from edit_lit.language_model.modes import evaluating
from edit_lit.language_model.module_tree import is_projection
from edit_lit.language_model.partial_forward import run_blocks
from edit_lit.language_model.token_batch import TokenBatch, length_batches


def block_projections(language_model: LanguageModel) -> Iterator[tuple[str, nn.Module]]:
    """The projections inside the blocks by name, an adapter in the place of what it wraps."""
    for layer, block in enumerate(language_model.blocks):
        inside: set[nn.Module] = set()
        for name, module in block.named_modules():
            if module in inside or not is_projection(module):
                continue
            yield f"layer {layer} {name}", module
            inner = set(module.modules())
            if isinstance(module, BaseTunerLayer):
                inside |= inner


def inputs_on_texts(
    language_model: LanguageModel,
    modules: Mapping[str, nn.Module],
    rows: Sequence[Sequence[int]],
    batch_tokens: int = 8192,
) -> dict[str, Tensor]:
    """The inputs of some projections at every token of some texts, on the CPU.

    In a causal model a token's input hangs on the tokens before it only, so that a beginning that several texts share
    counts once.

    Args:
        language_model: The model; it is asked in evaluation mode.
        modules: Projections of its blocks by name.
        rows: Token ids of the texts.
        batch_tokens: Tokens in a batch, padding included.

    Returns:
        For each projection its inputs, [T, N].
    """
    fresh = first_seen(rows)
    found: dict[str, list[Tensor]] = {name: [] for name in modules}
    with evaluating(language_model.model):
        for batch in length_batches([len(row) for row in rows], batch_tokens):
            tokens = TokenBatch.of([rows[index] for index in batch], language_model.device)
            wanted = torch.zeros_like(tokens.ids, dtype=torch.bool)
            for place, index in enumerate(batch):
                wanted[place, fresh[index]] = True
            with ExitStack() as stack:
                records = {name: stack.enter_context(recorded_input(module)) for name, module in modules.items()}
                run_blocks(language_model, tokens)
            for name, record in records.items():
                found[name].append(record.take(tokens)[wanted].cpu())
    return {name: torch.cat(parts) for name, parts in found.items()}


def first_seen(rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """For each text the positions at which it differs, by its tokens up to there, from all texts before it."""
    seen: set[tuple[int, ...]] = set()
    fresh: list[list[int]] = []
    for row in rows:
        beginnings = [tuple(row[: end + 1]) for end in range(len(row))]
        fresh.append([end for end, beginning in enumerate(beginnings) if beginning not in seen])
        seen.update(beginnings)
    return fresh
