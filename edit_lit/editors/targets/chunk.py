"""A few facts whose target values are optimised side by side.

Shape legend: F facts of the chunk, A facts still being optimised, M moved modules, C contexts, S = F·(C+1) rows
(each fact's contexts, then its essence prompt), T tokens, P scored positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor

from edit_lit.activations.hook_points import HookPoint
from edit_lit.activations.shared_prefix import SharedPrefixCache
from edit_lit.activations.token_rows import SubjectRow
from edit_lit.editors.targets.options import TargetValues
from edit_lit.editors.targets.state import LossTerms, OptimizationState
from edit_lit.language_model import LanguageModel, working_type
from edit_lit.language_model.hooks import recorded_kv_cache, recorded_output, shifted_output
from edit_lit.language_model.kv_cache import KVCacheSlice
from edit_lit.language_model.partial_forward import run_blocks
from edit_lit.language_model.token_batch import TokenBatch


class TargetChunk:
    """Each fact has its own loss, clamp and end, so that none sees the others.

    What does not change between passes is computed once: hidden states below the moved modules, the attention keys
    and values of the tokens before the lookup token, which no δ reaches, and where the answers are scored.

    Args:
        options: How to optimise.
        language_model: A frozen model.
        layer: The layer whose output is moved.
        rows: Each fact's prompts, then its KL anchor statement.
        hook_point: The part of the layer that is moved.
        prefixes: What rows of a context begin with, run through all layers.
    """

    def __init__(
        self,
        options: TargetValues,
        language_model: LanguageModel,
        layer: int,
        rows: list[list[SubjectRow]],
        hook_point: HookPoint,
        prefixes: SharedPrefixCache,
    ) -> None:
        self.options = options
        self.language_model = language_model
        self.modules = hook_point.modules(language_model, layer)
        self.rows_per_fact = len(rows[0])
        self._run_whole([row for fact in rows for row in fact], hook_point.known_below(layer), prefixes)
        self.initial_log_p_FV: Tensor | None = None

    @torch.no_grad()
    def _run_whole(self, rows: list[SubjectRow], below: int, prefixes: SharedPrefixCache) -> None:
        """Run the rows once behind their beginnings, and keep what later passes go on from."""
        language_model, device = self.language_model, self.language_model.device
        starts = prefixes.starts(rows)
        rest = _cut(rows, starts, device, prefixes.before(rows))
        with ExitStack() as stack:
            records = [stack.enter_context(recorded_output(module)) for module in self.modules]
            known = [stack.enter_context(recorded_output(language_model.blocks[below]))] if below >= 0 else []
            seen = stack.enter_context(recorded_kv_cache(language_model))
            run_blocks(language_model, rest)
        subject_lasts = torch.tensor([row.subject_last for row in rows], device=device)
        place_S = subject_lasts - torch.tensor(starts, device=device)
        bare = torch.arange(0, len(rows), self.rows_per_fact, device=device)
        outputs = [record.take(rest)[bare, place_S[bare]] for record in records]
        self.origin_FMD = torch.stack([output.to(working_type(output)) for output in outputs], 1)

        past = KVCacheSlice.of(seen.cache, rest.begins, subject_lasts, range(below + 1, len(language_model.blocks)))
        if past is not None:
            starts = [row.subject_last for row in rows]
        self.input = _cut(rows, starts, device, past)
        self.subject_last_S = subject_lasts - torch.tensor(starts, device=device)
        self.known = (below, _from(known[0].take(rest), place_S - self.subject_last_S, self.input)) if known else None
        self._index_answers(rows, starts)

    def _index_answers(self, rows: list[SubjectRow], starts: list[int]) -> None:
        """Where the answers are scored: row, column, token and weight of each position."""
        device, answered = self.language_model.device, self.rows_per_fact - 1
        scored = [
            (number, len(row.ids) - start - len(row.answer) + place, token, 1.0 / (len(row.answer) * answered))
            for number, (row, start) in enumerate(zip(rows, starts, strict=True))
            for place, token in enumerate(row.answer)
        ]
        row_numbers, columns, tokens, weights = zip(*scored, strict=True)
        self.row_P = torch.tensor(row_numbers, device=device)
        self.column_P = torch.tensor(columns, device=device)
        self.token_P = torch.tensor(tokens, device=device)
        self.weight_P = torch.tensor(weights, device=device, dtype=torch.float64)

    def descend(
        self, start_FMD: Tensor, steps: int, free_FMD: Tensor | None = None, l1_FMD: Tensor | None = None
    ) -> OptimizationState:
        """Minimise the loss with Adam.

        Args:
            start_FMD: Where δ starts.
            steps: Forward passes at most.
            free_FMD: 1 where δ may move, 0 elsewhere; everywhere if not given.
            l1_FMD: Weights of abs(δ) in the loss; none if not given.
        """
        delta_FMD = start_FMD.clone().requires_grad_()
        optimizer = torch.optim.Adam([delta_FMD], lr=self.options.lr)
        found = OptimizationState(start_FMD)
        active = torch.arange(len(start_FMD), device=start_FMD.device)
        for step in range(1, steps + 1):
            terms = self._terms(delta_FMD, active)
            loss_A = self._loss(terms, found.was_correct_F[active])
            if l1_FMD is not None:
                loss_A = loss_A + (l1_FMD[active] * delta_FMD[active].abs()).sum((1, 2))
            found.note(active, delta_FMD, loss_A, terms)
            found.finished_F[active] = self._finished(loss_A, terms, found.correct_F[active])
            going = ~found.finished_F[active]
            if step == steps or not bool(going.any()):
                break
            optimizer.zero_grad()
            # A finished fact's loss is constant from here on; its vector may move on but is not read again.
            (loss_A * going).sum().backward()
            assert delta_FMD.grad is not None
            if free_FMD is not None:
                delta_FMD.grad.mul_(free_FMD)
            found.gradient_FMD += delta_FMD.grad
            optimizer.step()
            self._project(delta_FMD)
            active = active[going]
        return found

    @torch.no_grad()
    def _project(self, delta_FMD: Tensor) -> None:
        limit_FM = self.options.clamp * self.origin_FMD.norm(dim=-1)
        norm_FM = delta_FMD.norm(dim=-1)
        delta_FMD.mul_(torch.where(norm_FM > limit_FM, limit_FM / norm_FM, 1.0)[..., None])

    def _loss(self, terms: LossTerms, was_correct_A: Tensor) -> Tensor:
        nll_A = torch.where(was_correct_A, self.options.correct_nll_weight * terms.nll_A, terms.nll_A)
        return nll_A + self.options.kl_weight * terms.kl_A + self.options.weight_decay * terms.decay_A

    @torch.no_grad()
    def _finished(self, loss_A: Tensor, terms: LossTerms, times_correct_A: Tensor) -> Tensor:
        options = self.options
        finished_A = loss_A < options.stop_loss
        if options.stop_correct is not None:
            finished_A = finished_A | (times_correct_A >= options.stop_correct)
        if options.correct_stop_kl is not None:
            finished_A = finished_A | (terms.correct_A & (options.kl_weight * terms.kl_A <= options.correct_stop_kl))
        return finished_A

    def _terms(self, delta_FMD: Tensor, active: Tensor) -> LossTerms:
        width = self.rows_per_fact
        row_S = (active[:, None] * width + torch.arange(width, device=active.device)).flatten()
        place_in_batch = torch.full((len(self.subject_last_S),), -1, device=active.device)
        place_in_batch[row_S] = torch.arange(len(row_S), device=active.device)
        scored = place_in_batch[self.row_P] >= 0
        position_P = place_in_batch[self.row_P[scored]]
        kl_anchor_S = torch.arange(width - 1, len(row_S), width, device=active.device)
        where = (
            torch.cat([position_P, kl_anchor_S]),
            torch.cat([self.column_P[scored], self.subject_last_S[row_S[kl_anchor_S]]]),
        )
        log_p = self._log_p(delta_FMD[active], row_S, where)
        answers_PV, kl_anchor_AV = log_p[: len(position_P)], log_p[len(position_P) :]
        picked_P = answers_PV.gather(1, self.token_P[scored][:, None])[:, 0] * self.weight_P[scored].to(log_p.dtype)
        nll_A = -torch.zeros_like(active, dtype=log_p.dtype).index_add(0, position_P // width, picked_P)
        correct_A = torch.zeros_like(active, dtype=torch.bool)
        if self.options.watches_correctness:
            missed_P = answers_PV.detach().argmax(1) != self.token_P[scored]
            if self.options.correct_without_bare:
                missed_P &= position_P % width != 0
            correct_A = torch.zeros_like(active).index_add(0, position_P // width, missed_P.long()) == 0

        if self.initial_log_p_FV is None:
            self.initial_log_p_FV = kl_anchor_AV.detach()
        kl_A = (kl_anchor_AV.exp() * (kl_anchor_AV - self.initial_log_p_FV[active])).sum(-1)
        decay_A = (delta_FMD[active].norm(dim=-1) / self.origin_FMD[active].norm(dim=-1) ** 2).sum(-1)
        return LossTerms(nll_A, kl_A, decay_A, correct_A)

    def _log_p(self, delta_AMD: Tensor, row_S: Tensor, where: tuple[Tensor, Tensor]) -> Tensor:
        """Log-probabilities at some positions of some rows, with each fact's δ added at its lookup tokens."""
        resume = None if self.known is None else (self.known[0], self.known[1][row_S])
        with ExitStack() as stack:
            for place, module in enumerate(self.modules):
                stack.enter_context(shifted_output(module, self._shift(delta_AMD[:, place], row_S)))
            logits = run_blocks(self.language_model, self.input[row_S], where, resume=resume)
        return logits.to(delta_AMD.dtype).log_softmax(-1)

    def _shift(self, delta_AD: Tensor, row_S: Tensor) -> Callable[[Tensor], Tensor]:
        shift_SD = delta_AD.repeat_interleave(self.rows_per_fact, dim=0)
        length = self.input.ids.shape[1]
        # Counted through all rows, which also fits the families that flatten rows and positions around their MLPs.
        place_S = torch.arange(len(row_S), device=row_S.device) * length + self.subject_last_S[row_S]

        def shift(output: Tensor) -> Tensor:
            flat = output.reshape(-1, output.shape[-1])
            return flat.index_add(0, place_S, shift_SD.to(flat.dtype)).view(output.shape)

        return shift


def _cut(rows: list[SubjectRow], starts: list[int], device: torch.device, past: KVCacheSlice | None) -> TokenBatch:
    """Rows from some token on, and what stands before it."""
    return TokenBatch.of([row.ids[start:] for row, start in zip(rows, starts, strict=True)], device, past)


def _from(hidden: Tensor, start_S: Tensor, rows: TokenBatch) -> Tensor:
    """Hidden states from some column of each row on, as many as the rows are long; padding is whatever stands there."""
    column_ST = start_S[:, None] + torch.arange(rows.ids.shape[1], device=start_S.device)
    row_S1 = torch.arange(len(rows), device=start_S.device)[:, None]
    return hidden[row_S1, column_ST.clamp(max=hidden.shape[1] - 1)]
