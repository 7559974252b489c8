"""What a model computed once, kept to be compared with what it computes later.

Shape legend: R rows, L layers, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor

from edit_lit.drift.reading import seen
from edit_lit.language_model import LanguageModel, working_type
from edit_lit.language_model.modes import evaluating
from edit_lit.language_model.partial_forward import run_blocks
from edit_lit.language_model.token_batch import TokenBatch, length_batches


class KeptStates:
    """The hidden states of a model at one token of each row and layer, as they are when this is made.

    They wait on the CPU, in the model's own dtype: R × L × D numbers. All processes keep all of them.

    Args:
        language_model: The model.
        rows: Token ids of the texts.
        columns_RL: The position at which each row is read at each layer.
        batch_tokens: Tokens in a batch, padding included.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        rows: Sequence[Sequence[int]],
        columns_RL: Tensor,
        batch_tokens: int = 8192,
    ) -> None:
        self.language_model = language_model
        self.rows = rows
        self._columns_RL = columns_RL
        self._kept: list[Tensor] = [torch.empty(0)] * len(rows)
        with evaluating(language_model.model):
            for batch in length_batches([len(row) for row in rows], batch_tokens):
                for number, state_LD in zip(batch, self._states(batch).cpu(), strict=True):
                    self._kept[number] = state_LD.clone()

    def distance(self, numbers: Sequence[int]) -> Tensor:
        """‖h − hₑ‖² / ‖hₑ‖² of some rows, each a mean over layers, [R]; gradients reach the model."""
        now_RLD = self._states(numbers)
        kept_RLD = torch.stack([self._kept[number] for number in numbers]).to(now_RLD.device)
        dtype = working_type(now_RLD)
        off_RL = (now_RLD.to(dtype) - kept_RLD.to(dtype)).square().sum(-1)
        return (off_RL / kept_RLD.to(dtype).square().sum(-1)).mean(1)

    def _states(self, numbers: Sequence[int]) -> Tensor:
        """The output of every block for some rows, [R, L, D]."""
        batch = TokenBatch.of([self.rows[number] for number in numbers], self.language_model.device)
        # Counted from the end: a prompt that was learnt may stand before the tokens.
        columns_RL = (self._columns_RL[list(numbers)] - batch.ids.shape[1]).to(batch.ids.device)
        rows_R = torch.arange(len(numbers), device=batch.ids.device)
        found: dict[int, Tensor] = {}

        def keep(layer: int, value: Tensor) -> None:
            whole = value.view(len(numbers), -1, value.shape[-1])
            found[layer] = whole[rows_R, columns_RL[:, layer]]

        with ExitStack() as stack:
            for layer, block in enumerate(self.language_model.blocks):
                stack.enter_context(seen(block, partial(keep, layer), output=True))
            run_blocks(self.language_model, batch)
        return torch.stack([found[layer] for layer in range(len(found))], dim=1)
