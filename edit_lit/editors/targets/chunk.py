"""The optimisation of target values for a chunk of facts side by side (MEMIT, arXiv 2210.07229, §4.2).

Shape legend: F facts of the chunk, A facts still being optimised, M moved modules, S rows of these (each fact's
contexts, then its neighbors, its contexts with the old object, and its KL anchor prompt), P scored tokens, D hidden
size, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edit_lit.activations.hook_points import HookPoint
from edit_lit.activations.shared_prefix import SharedPrefixCache
from edit_lit.activations.token_rows import SubjectRow
from edit_lit.editors.targets.intervention import SubjectIntervention
from edit_lit.editors.targets.options import TargetValues
from edit_lit.editors.targets.state import LossTerms, OptimizationState
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.scoring import ScoredTokens, log_probabilities, token_hits, token_nll


class TargetChunk:
    """Facts whose δ are optimised in the same forward passes; each has its own loss, clamp and end.

    Args:
        options: How to optimise.
        language_model: A frozen model.
        layer: The layer whose output is moved.
        rows: Each fact's prompts, those with the old object behind the others, then its KL anchor prompt.
        hook_point: The part of the layer that is moved.
        prefixes: The KV cache of what rows of a context begin with, run through all layers.
        old: How many of each fact's prompts are those with the old object: as many as there are contexts, or none.
    """

    def __init__(
        self,
        options: TargetValues,
        language_model: LanguageModel,
        layer: int,
        rows: list[list[SubjectRow]],
        hook_point: HookPoint,
        prefixes: SharedPrefixCache,
        old: int = 0,
    ) -> None:
        self.options = options
        self.rows_per_fact = len(rows[0])
        every_row = [row for of_fact in rows for row in of_fact]
        self.intervention = SubjectIntervention(
            language_model, layer, every_row, self.rows_per_fact, hook_point, prefixes
        )
        self.origin_FMD = self.intervention.origin_FMD
        self.initial_log_p_FV: Tensor | None = None
        self._index_answers(every_row, self.intervention.start_S.tolist(), old)

    def _index_answers(self, rows: list[SubjectRow], starts: list[int], old: int) -> None:
        """Row, column, id and weights of every answer token; KL anchor prompts have none.

        Tokens weigh in their fact's NLL and in its margin: the first is of all rows but those with the old object, the
        second of these less the contexts.
        """
        scored = ScoredTokens.of(
            (
                (number, len(row.ids) - start - len(row.answer) + place, token, number)
                for number, (row, start) in enumerate(zip(rows, starts, strict=True))
                for place, token in enumerate(row.answer)
            ),
            self.origin_FMD.device,
        )
        self.row_P, self.column_P, self.token_P = scored.group, scored.where[1][scored.position], scored.token
        new = self.rows_per_fact - 1 - old
        place_P = self.row_P % self.rows_per_fact
        self.old_P = place_P >= new
        self.weight_P = torch.where(self.old_P, 0.0, scored.weight / new)
        sign_P = self.old_P.double() - (place_P < old).double()
        self.margin_weight_P = sign_P * scored.weight / max(old, 1)

    def optimize(
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
            was_correct_A = found.was_correct_F[active]
            terms = self._terms(delta_FMD, active)
            loss_A = self._loss(terms, was_correct_A, delta_FMD[active], l1_FMD, active)
            found.note(active, delta_FMD, loss_A, terms)
            found.finished_F[active] = self._finished(loss_A, terms, found.correct_F[active])
            going = ~found.finished_F[active]
            if step == steps or not bool(going.any()):
                break
            # A finished fact's loss is constant from here on; its vector may move on but is not read again.
            delta_FMD.grad = _gradient((loss_A * going).sum(), delta_FMD, free_FMD)
            if self.options.sharpness:
                above_FMD = self._uphill(delta_FMD).requires_grad_()
                terms = self._terms(above_FMD, active)
                loss_A = self._loss(terms, was_correct_A, above_FMD[active], l1_FMD, active)
                delta_FMD.grad = _gradient((loss_A * going).sum(), above_FMD, free_FMD)
            found.gradient_FMD += delta_FMD.grad
            optimizer.step()
            self._clamp(delta_FMD)
            active = active[going]
        return found

    @torch.no_grad()
    def _uphill(self, delta_FMD: Tensor) -> Tensor:
        """Each δ moved along its gradient by the share of ‖z₀‖ that the sharpness says; finished facts have none."""
        assert delta_FMD.grad is not None
        length_FM = delta_FMD.grad.norm(dim=-1)
        scale_FM = self.options.sharpness * self.origin_FMD.norm(dim=-1) / length_FM
        return delta_FMD + torch.where(length_FM > 0, scale_FM, 0.0)[..., None] * delta_FMD.grad

    @torch.no_grad()
    def _clamp(self, delta_FMD: Tensor) -> None:
        """Project each δ back to its largest norm."""
        limit_FM = self.options.clamp * self.origin_FMD.norm(dim=-1)
        norm_FM = delta_FMD.norm(dim=-1)
        delta_FMD.mul_(torch.where(norm_FM > limit_FM, limit_FM / norm_FM, 1.0)[..., None])

    def _loss(
        self, terms: LossTerms, was_correct_A: Tensor, delta_AMD: Tensor, l1_FMD: Tensor | None, active: Tensor
    ) -> Tensor:
        nll_A = torch.where(was_correct_A, self.options.correct_nll_weight * terms.nll_A, terms.nll_A)
        loss_A = nll_A + self.options.kl_weight * terms.kl_A + self.options.weight_decay * terms.decay_A
        if self.options.margin is not None:
            loss_A = loss_A + terms.lacking_A
        if l1_FMD is not None:
            loss_A = loss_A + (l1_FMD[active] * delta_AMD.abs()).sum((1, 2))
        return loss_A

    @torch.no_grad()
    def _finished(self, loss_A: Tensor, terms: LossTerms, times_correct_A: Tensor) -> Tensor:
        options = self.options
        finished_A = loss_A < options.stop_loss
        if options.stop_correct is not None:
            finished_A = finished_A | (times_correct_A >= options.stop_correct)
        if options.correct_stop_kl is not None:
            finished_A = finished_A | (terms.correct_A & (options.kl_weight * terms.kl_A <= options.correct_stop_kl))
        return finished_A if options.margin is None else finished_A & (terms.lacking_A == 0)

    def _terms(self, delta_FMD: Tensor, active: Tensor) -> LossTerms:
        """The terms of the active facts' losses, from one forward pass."""
        width, device = self.rows_per_fact, active.device
        row_S = (active[:, None] * width + torch.arange(width, device=device)).flatten()
        place_of_row = torch.full((len(self.intervention.start_S),), -1, device=device)
        place_of_row[row_S] = torch.arange(len(row_S), device=device)
        scored = place_of_row[self.row_P] >= 0
        place_P, token_P = place_of_row[self.row_P[scored]], self.token_P[scored]
        anchor_A = torch.arange(width - 1, len(row_S), width, device=device)
        anchor_column_A = self.intervention.subject_last_S[row_S[anchor_A]]
        where = torch.cat([place_P, anchor_A]), torch.cat([self.column_P[scored], anchor_column_A])
        logits = self.intervention.logits(delta_FMD[active], row_S, where)
        answers_PV, anchors_AV = logits.split([len(place_P), len(active)])
        nll_P, fact_P = token_nll(answers_PV, token_P), place_P // width

        def of_facts(weight_P: Tensor) -> Tensor:
            weighted_P = nll_P * weight_P[scored].to(delta_FMD.dtype)
            return torch.zeros_like(active, dtype=weighted_P.dtype).index_add(0, fact_P, weighted_P)

        nll_A, margin = of_facts(self.weight_P), self.options.margin
        return LossTerms(
            nll_A=nll_A,
            kl_A=self._kl(anchors_AV, active),
            decay_A=(delta_FMD[active].norm(dim=-1) / self.origin_FMD[active].norm(dim=-1) ** 2).sum(-1),
            lacking_A=torch.zeros_like(nll_A) if margin is None else (margin - of_facts(self.margin_weight_P)).relu(),
            correct_A=self._correct(answers_PV, token_P, place_P, active, self.old_P[scored]),
        )

    def _kl(self, anchors_AV: Tensor, active: Tensor) -> Tensor:
        """KL(now ‖ before) of the next token in the KL anchor prompts; "before" is the first pass, where δ is 0."""
        log_p_AV = log_probabilities(anchors_AV)
        if self.initial_log_p_FV is None:
            self.initial_log_p_FV = log_p_AV.detach()
        return (log_p_AV.exp() * (log_p_AV - self.initial_log_p_FV[active])).sum(-1)

    def _correct(self, answers_PV: Tensor, token_P: Tensor, place_P: Tensor, active: Tensor, old_P: Tensor) -> Tensor:
        """Whether every target token of a fact is the argmax; looked at only if an option depends on it."""
        if not self.options.watches_correctness:
            return torch.zeros_like(active, dtype=torch.bool)
        missed_P = ~(token_hits(answers_PV, token_P) | old_P)
        if self.options.correct_without_bare:
            missed_P &= place_P % self.rows_per_fact != 0
        return torch.zeros_like(active).index_add(0, place_P // self.rows_per_fact, missed_P.long()) == 0


def _gradient(loss: Tensor, delta_FMD: Tensor, free_FMD: Tensor | None) -> Tensor:
    """The gradient of a loss, where δ may move."""
    (gradient_FMD,) = torch.autograd.grad(loss, delta_FMD)
    return gradient_FMD if free_FMD is None else gradient_FMD * free_FMD
