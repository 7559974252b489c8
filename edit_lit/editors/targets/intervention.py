"""Forward passes in which a vector δ is added to a layer's output at each subject's last token.

Shape legend: F facts of the chunk, A facts that are run, M moved modules, S rows, T tokens, D hidden size, P positions,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from edit_lit.activations.hook_points import HookPoint
from edit_lit.activations.shared_prefix import SharedPrefixCache
from edit_lit.activations.token_rows import SubjectRow
from edit_lit.language_model import LanguageModel, working_type
from edit_lit.language_model.hooks import recorded_kv_cache, recorded_output, shifted_output
from edit_lit.language_model.kv_cache import KVCacheSlice
from edit_lit.language_model.partial_forward import run_blocks
from edit_lit.language_model.token_batch import TokenBatch


class SubjectIntervention:
    """Adds one δ for each fact in all of its rows, and computes logits where they are asked for.

    What δ does not reach is computed once: the hidden states below the moved layer, and the KV cache of the tokens
    before each subject's last one. Every pass runs the remaining tokens through the remaining layers.

    Args:
        language_model: A frozen model.
        layer: The layer whose output is moved.
        rows: The rows, those of one fact side by side, its bare prompt first.
        rows_per_fact: How many rows each fact has.
        hook_point: The part of the layer that is moved.
        prefixes: The KV cache of what rows of a context begin with, run through all layers.

    Attributes:
        origin_FMD: Each module's own output at the subject's last token in the bare prompt.
        start_S: Where in its row the tokens begin that every pass runs.
        subject_last_S: Where the subject's last token stands among these.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        layer: int,
        rows: Sequence[SubjectRow],
        rows_per_fact: int,
        hook_point: HookPoint,
        prefixes: SharedPrefixCache,
    ) -> None:
        self.language_model = language_model
        self.modules = hook_point.modules(language_model, layer)
        self.rows_per_fact = rows_per_fact
        self._run_once(rows, hook_point.known_below(layer), prefixes)

    @torch.no_grad()
    def _run_once(self, rows: Sequence[SubjectRow], below: int, prefixes: SharedPrefixCache) -> None:
        """Run the unmoved rows after their shared prefixes, and keep what later passes start from."""
        language_model, device = self.language_model, self.language_model.device
        starts = prefixes.starts(rows)
        rest = _from_starts(rows, starts, device, prefixes.before(rows))
        with ExitStack() as stack:
            records = [stack.enter_context(recorded_output(module)) for module in self.modules]
            known = [stack.enter_context(recorded_output(language_model.blocks[below]))] if below >= 0 else []
            seen = stack.enter_context(recorded_kv_cache(language_model))
            run_blocks(language_model, rest)
        subject_lasts = [row.subject_last for row in rows]
        subject_last_S = torch.tensor(subject_lasts, device=device)
        place_S = subject_last_S - torch.tensor(starts, device=device)
        bare = torch.arange(0, len(rows), self.rows_per_fact, device=device)
        outputs = [record.take(rest)[bare, place_S[bare]] for record in records]
        self.origin_FMD = torch.stack([output.to(working_type(output)) for output in outputs], 1)

        past = KVCacheSlice.of(seen.cache, rest.begins, subject_last_S, range(below + 1, len(language_model.blocks)))
        if past is not None:
            starts = subject_lasts
        self.start_S = torch.tensor(starts, device=device)
        self.subject_last_S = subject_last_S - self.start_S
        self._input = _from_starts(rows, starts, device, past)
        self._known = None
        if known:
            self._known = below, _columns_from(known[0].take(rest), place_S - self.subject_last_S, self._input)

    def logits(self, delta_AMD: Tensor, row_S: Tensor, where: tuple[Tensor, Tensor]) -> Tensor:
        """Logits at some positions of some rows, [P, V].

        Args:
            delta_AMD: The δ of each fact that is run.
            row_S: All rows of these facts.
            where: For each position, its place in ``row_S``, and its column counted from the row's start, [P] each.
        """
        resume = None if self._known is None else (self._known[0], self._known[1][row_S])
        with ExitStack() as stack:
            for number, module in enumerate(self.modules):
                stack.enter_context(shifted_output(module, self._shift(delta_AMD[:, number], row_S)))
            return run_blocks(self.language_model, self._input[row_S], where, resume=resume)

    def _shift(self, delta_AD: Tensor, row_S: Tensor) -> Callable[[Tensor], Tensor]:
        shift_SD = delta_AD.repeat_interleave(self.rows_per_fact, dim=0)
        length = self._input.ids.shape[1]
        # Counted through all rows, which also fits the families that flatten rows and positions around their MLPs.
        place_S = torch.arange(len(row_S), device=row_S.device) * length + self.subject_last_S[row_S]

        def shift(output: Tensor) -> Tensor:
            tokens = output.reshape(-1, output.shape[-1])
            return tokens.index_add(0, place_S, shift_SD.to(tokens.dtype)).view(output.shape)

        return shift


def _from_starts(
    rows: Sequence[SubjectRow], starts: Sequence[int], device: torch.device, past: KVCacheSlice | None
) -> TokenBatch:
    """Each row from its start on, after the KV cache of the tokens before."""
    return TokenBatch.of([row.ids[start:] for row, start in zip(rows, starts, strict=True)], device, past)


def _columns_from(hidden_STD: Tensor, start_S: Tensor, rows: TokenBatch) -> Tensor:
    """Hidden states from a column of each row on, as many as the rows are long; padding is whatever stands there."""
    column_ST = start_S[:, None] + torch.arange(rows.ids.shape[1], device=start_S.device)
    row_S1 = torch.arange(len(rows), device=start_S.device)[:, None]
    return hidden_STD[row_S1, column_ST.clamp(max=hidden_STD.shape[1] - 1)]
