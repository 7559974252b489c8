"""Keys and values at the subject's last token, read layer by layer from the lowest edited one up.

Shape legend: F facts, N size of the MLP, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from edit_lit.activations.contexts import context_weights
from edit_lit.activations.hook_points import BlockOutput, HookPoint
from edit_lit.activations.shared_prefix import SharedPrefixCache
from edit_lit.activations.token_rows import SubjectRow
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.hooks import recorded_input, recorded_output
from edit_lit.language_model.module_tree import projection_shape
from edit_lit.language_model.partial_forward import run_blocks
from edit_lit.language_model.token_batch import TokenBatch, length_batches
from edit_lit.utilities import distributed
from edit_lit.utilities.progress import progress


@dataclass
class _SuffixBatch:
    """Rows from the end of their shared prefix to the subject's last token.

    ``subject_last`` is the position of that token in the suffix. ``fact`` and ``weight`` say to which fact's mean key
    each row belongs and with what weight; ``bare`` marks a batch of prompts without context, whose values are wanted
    too. ``hidden`` is the output of the layer that the rows have reached, where it is kept.
    """

    rows: Sequence[SubjectRow]
    input: TokenBatch
    subject_last: Tensor
    fact: Tensor
    weight: Tensor
    bare: bool
    hidden: Tensor | None = None


@dataclass(frozen=True)
class KeysAndValues:
    """Keys and values of some facts at a layer, float64.

    Args:
        keys: Mean keys over contexts, [F, N].
        bare_keys: Keys of the prompts without context, [F, N].
        values: Current values of the prompts without context, [F, D].
    """

    keys: Tensor
    bare_keys: Tensor
    values: Tensor


class KeyExtractor:
    """Reads the edited facts' keys and values at one layer after another.

    A key depends on the weights below it only, so after a layer is edited the rows go on from that layer's
    output instead of starting again: each row passes each block below the last edited layer once or twice. Rows end at
    the subject's last token, and the prefix that all rows of a context share runs once.

    Hidden states are kept for as many batches as ``hidden_bytes`` have room for. The rows of the others start again
    from their embeddings at each layer that is read, which gives the same numbers and costs all blocks below it.

    Args:
        language_model: A frozen model.
        prompts: Each fact's prompt in each context, the bare one first.
        value_layer: The layer whose output at the subject's last token is the current value.
        batch_tokens: Tokens in a batch, padding and shared prefixes included.
        uniform_weights: Give every context the same weight; see :func:`~edit_lit.activations.contexts.context_weights`.
        hook_point: The part of the value layer whose output it is.
        hidden_bytes: Memory for hidden states between layers, in each process.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        prompts: Sequence[Sequence[SubjectRow]],
        value_layer: int,
        batch_tokens: int = 8192,
        uniform_weights: bool = False,
        hook_point: HookPoint = BlockOutput(),
        hidden_bytes: int = 2**31,
    ) -> None:
        self.language_model = language_model
        self.facts = len(prompts)
        self.value_layer = value_layer
        self.value_module = hook_point.modules(language_model, value_layer)[0]
        self.reached = -1
        bare = [(fact, rows[0]) for fact, rows in enumerate(prompts)]
        prefixed = [(fact, row) for fact, rows in enumerate(prompts) for row in rows[1:]]
        every_row = (row for rows in prompts for row in rows)
        self.prefixes = SharedPrefixCache(language_model, every_row, value_layer)
        weights = context_weights(len(prompts[0]), uniform_weights).tolist()
        self._batches = [
            self._batch([rows[index] for index in batch], weight, rows is bare)
            for rows, weight in ((bare, weights[0]), (prefixed, weights[-1]))
            for batch in distributed.shard(self._grouped([row for _, row in rows], batch_tokens))
        ]
        self._kept = self._batches[: self._batches_in(hidden_bytes)]

    def _batch(self, facts_rows: list[tuple[int, SubjectRow]], weight: float, bare: bool) -> _SuffixBatch:
        device = self.language_model.device
        facts, rows = zip(*facts_rows, strict=True)
        starts = self.prefixes.starts(rows)
        return _SuffixBatch(
            rows=rows,
            input=TokenBatch.of([row.up_to_subject[start:] for row, start in zip(rows, starts, strict=True)], device),
            subject_last=torch.tensor(
                [row.subject_last - start for row, start in zip(rows, starts, strict=True)], device=device
            ),
            fact=torch.tensor(facts, device=device),
            weight=torch.full((len(rows), 1), weight, dtype=torch.float64, device=device),
            bare=bare,
        )

    def _batches_in(self, hidden_bytes: int) -> int:
        """How many batches, from the first, have room for their hidden states."""
        token = self.language_model.hidden_size * next(self.language_model.model.parameters()).element_size()
        ends = accumulate(batch.input.ids.numel() * token for batch in self._batches)
        return sum(end <= hidden_bytes for end in ends)

    @torch.no_grad()
    def advance(self, layer: int) -> None:
        """Move the rows whose hidden states are kept to the output of a layer, with the weights as they are now."""
        if layer <= self.reached:
            return
        self.prefixes.advance(layer)
        for batch in progress(self._kept, f"states of layer {layer}", "batches"):
            with recorded_output(self.language_model.blocks[layer]) as record:
                self._run(batch, stop_after=layer)
            batch.hidden = record.take(batch.input)
        self.reached = layer

    @torch.no_grad()
    def read(self, layer: int) -> KeysAndValues:
        """Keys at a layer and current values at the value layer, equal in all processes.

        Args:
            layer: A layer above those that the rows have passed.
        """
        language_model = self.language_model
        projection = language_model.output_projection(layer)
        device = language_model.device
        keys_FN = torch.zeros(self.facts, projection_shape(projection)[1], dtype=torch.float64, device=device)
        bare_FN = torch.zeros_like(keys_FN)
        values_FD = torch.zeros(self.facts, language_model.hidden_size, dtype=torch.float64, device=device)
        self.prefixes.renew()
        for batch in progress(self._batches, f"keys of layer {layer}", "batches"):
            with ExitStack() as stack:
                key_record = stack.enter_context(recorded_input(projection))
                value_record = stack.enter_context(recorded_output(self.value_module))
                self._run(batch, stop_after=self.value_layer if batch.bare else layer)
            at_subject_last = (torch.arange(len(batch.input), device=device), batch.subject_last)
            found_BN = key_record.take(batch.input)[at_subject_last].double()
            keys_FN.index_add_(0, batch.fact, found_BN * batch.weight)
            if batch.bare:
                bare_FN[batch.fact] = found_BN
                values_FD[batch.fact] = value_record.take(batch.input)[at_subject_last].double()
        return KeysAndValues(*(distributed.sum_over_processes(tensor) for tensor in (keys_FN, bare_FN, values_FD)))

    def _grouped(self, rows: Sequence[SubjectRow], batch_tokens: int) -> list[list[int]]:
        """Rows in groups whose suffixes are of similar length; prefixes count, since each row attends to a copy."""
        rests = [row.subject_last + 1 - start for row, start in zip(rows, self.prefixes.starts(rows), strict=True)]
        longest = max((row.subject_last + 1 for row in rows), default=1)
        return length_batches(rests, batch_tokens, max_rows=max(1, batch_tokens // longest))

    def _run(self, batch: _SuffixBatch, stop_after: int) -> None:
        first = 0 if batch.hidden is None else self.reached + 1
        rows = replace(batch.input, past=self.prefixes.before(batch.rows, first))
        resume = None if batch.hidden is None else (self.reached, batch.hidden)
        run_blocks(self.language_model, rows, resume=resume, stop_after=stop_after)
