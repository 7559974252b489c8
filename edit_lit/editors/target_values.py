"""Target values: the hidden states at the subject's last token that make a model say the new object.

Shape legend: F facts still being optimised, C contexts, S = F·(C+1) rows (each fact's contexts, then its
essence prompt), T tokens, P scored positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from edit_lit import distributed
from edit_lit.batching import Rows, length_batches
from edit_lit.editors.prompts import SubjectRow
from edit_lit.facts.request import SUBJECT_SLOT
from edit_lit.language_model import LanguageModel, working_type
from edit_lit.tracing import recorded_output, run_blocks


@dataclass(frozen=True)
class TargetValues:
    """How target values are optimised (MEMIT, arXiv 2210.07229, §4.2 and equation 16).

    For each fact a vector δ is added to a block's output at the subject's last token and minimises

        mean over contexts of NLL(target) + kl_weight · KL(now ‖ before) + weight_decay · ‖δ‖ / ‖z₀‖²

    with Adam; KL is taken on the next token after the subject in ``essence``. The norm of δ in the last term is
    not squared: that is what the published results were made with.

    Args:
        steps: Forward passes at most; the last of them makes no update.
        lr: Adam's learning rate.
        stop_loss: A fact is finished when its loss falls below this.
        clamp: Largest ‖δ‖ / ‖z₀‖, enforced by projection after each update.
        weight_decay: Weight of the norm term.
        kl_weight: Weight of the KL term.
        essence: A statement about the subject that the edit should leave alone, with one ``{}``.
        chunk: Facts optimised together.
    """

    steps: int = 25
    lr: float = 0.5
    stop_loss: float = 0.05
    clamp: float = 0.75
    weight_decay: float = 0.5
    kl_weight: float = 0.0625
    essence: str = "{} is a"
    chunk: int = 16

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise ValueError(f"target_values.steps is {self.steps}; at least 2 are needed for one update.")
        if self.chunk < 1:
            raise ValueError(f"target_values.chunk is {self.chunk}; it must be at least 1.")
        if self.essence.count(SUBJECT_SLOT) != 1:
            raise ValueError(f"target_values.essence is {self.essence!r}; it needs exactly one '{{}}'.")

    def optimise(
        self,
        language_model: LanguageModel,
        layer: int,
        prompts: Sequence[Sequence[SubjectRow]],
        essences: Sequence[SubjectRow],
    ) -> OptimisedValues:
        """Target values of all facts, shared over processes by whole chunks.

        Args:
            language_model: A frozen model.
            layer: The block whose output is moved.
            prompts: Each fact's prompt in each context, the bare one first.
            essences: Each fact's essence statement.

        Returns:
            Values in the facts' order.
        """
        facts = len(prompts)
        reference = next(language_model.model.parameters())
        values = torch.zeros(facts, language_model.hidden_size, dtype=working_type(reference), device=reference.device)
        steps = torch.zeros(facts, dtype=torch.long, device=reference.device)
        losses = torch.zeros(facts, dtype=values.dtype, device=reference.device)
        lengths = [max(len(row.ids) for row in rows) for rows in prompts]
        chunks = length_batches(lengths, max_tokens=max(lengths) * self.chunk, max_rows=self.chunk)
        with tqdm(total=facts, desc="target values", unit="fact", disable=distributed.rank() > 0) as bar:
            for chunk in distributed.shard(chunks):
                rows = [[*prompts[fact], essences[fact]] for fact in chunk]
                values[chunk], steps[chunk], losses[chunk] = _Chunk(self, language_model, layer, rows).run()
                bar.update(len(chunk) * distributed.world_size())
        for tensor in (values, steps, losses):
            distributed.sum_over_processes(tensor)
        return OptimisedValues(values, steps, losses, losses >= self.stop_loss)


@dataclass(frozen=True)
class OptimisedValues:
    """What the optimisation found.

    Args:
        values: Target hidden states z, [facts, D].
        steps: Forward passes that each fact took, [facts].
        losses: Loss of each fact at its last pass, [facts].
        unfinished: Facts that never fell below the stopping loss, [facts].
    """

    values: Tensor
    steps: Tensor
    losses: Tensor
    unfinished: Tensor


class _Chunk:
    """A few facts optimised side by side; each has its own loss, clamp and end, so that none sees the others."""

    def __init__(
        self, options: TargetValues, language_model: LanguageModel, layer: int, rows: list[list[SubjectRow]]
    ) -> None:
        self.options = options
        self.language_model = language_model
        self.layer = layer
        self.rows_per_fact = len(rows[0])
        flat = [row for fact in rows for row in fact]
        device = language_model.device
        self.input = Rows.of([row.ids for row in flat], device)
        self.lookup_S = torch.tensor([row.lookup for row in flat], device=device)
        self._index_answers(flat, device)
        with torch.no_grad(), recorded_output(language_model.blocks[layer]) as record:
            run_blocks(language_model, self.input, stop_after=layer)
            self.hidden_STD = record.take()
        bare = torch.arange(0, len(flat), self.rows_per_fact, device=device)
        self.origin_FD = self.hidden_STD[bare, self.lookup_S[bare]].to(working_type(self.hidden_STD))
        self.initial_log_p_FV: Tensor | None = None

    def _index_answers(self, flat: list[SubjectRow], device: torch.device) -> None:
        """Where the answers are scored: row, column, token and weight of each position."""
        contexts = self.rows_per_fact - 1
        scored = [
            (number, len(row.ids) - len(row.answer) + place, token, 1.0 / (len(row.answer) * contexts))
            for number, row in enumerate(flat)
            for place, token in enumerate(row.answer)
        ]
        rows, columns, tokens, weights = zip(*scored, strict=True)
        self.row_P = torch.tensor(rows, device=device)
        self.column_P = torch.tensor(columns, device=device)
        self.token_P = torch.tensor(tokens, device=device)
        self.weight_P = torch.tensor(weights, device=device, dtype=torch.float64)

    def run(self) -> tuple[Tensor, Tensor, Tensor]:
        """Values, forward passes and last losses of the chunk's facts."""
        delta_FD = torch.zeros_like(self.origin_FD, requires_grad=True)
        optimizer = torch.optim.Adam([delta_FD], lr=self.options.lr)
        found_FD = torch.zeros_like(self.origin_FD)
        steps_F = torch.zeros(len(found_FD), dtype=torch.long, device=found_FD.device)
        losses_F = torch.zeros(len(found_FD), dtype=found_FD.dtype, device=found_FD.device)
        active = torch.arange(len(found_FD), device=found_FD.device)
        for step in range(1, self.options.steps + 1):
            loss_A = self._loss(delta_FD, active)
            with torch.no_grad():
                found_FD[active] = delta_FD[active]
                steps_F[active] = step
                losses_F[active] = loss_A.detach()
                going = loss_A >= self.options.stop_loss
            if step == self.options.steps or not bool(going.any()):
                break
            optimizer.zero_grad()
            # A finished fact's loss is constant from here on; its vector may move on but is not read again.
            (loss_A * going).sum().backward()
            optimizer.step()
            self._project(delta_FD)
            active = active[going]
        return self.origin_FD + found_FD, steps_F, losses_F

    @torch.no_grad()
    def _project(self, delta_FD: Tensor) -> None:
        limit_F = self.options.clamp * self.origin_FD.norm(dim=1)
        norm_F = delta_FD.norm(dim=1)
        delta_FD.mul_(torch.where(norm_F > limit_F, limit_F / norm_F, 1.0)[:, None])

    def _loss(self, delta_FD: Tensor, active: Tensor) -> Tensor:
        """Loss of each active fact, [A]."""
        options, width = self.options, self.rows_per_fact
        row_S = (active[:, None] * width + torch.arange(width, device=active.device)).flatten()
        place_in_batch = torch.full((len(self.lookup_S),), -1, device=active.device)
        place_in_batch[row_S] = torch.arange(len(row_S), device=active.device)
        scored = place_in_batch[self.row_P] >= 0
        position_P = place_in_batch[self.row_P[scored]]
        essence_S = torch.arange(width - 1, len(row_S), width, device=active.device)

        moved_STD = self._moved(delta_FD[active], row_S)
        where = (
            torch.cat([position_P, essence_S]),
            torch.cat([self.column_P[scored], self.lookup_S[row_S[essence_S]]]),
        )
        logits = run_blocks(self.language_model, self.input[row_S], where, resume=(self.layer, moved_STD))
        log_p = logits.to(delta_FD.dtype).log_softmax(-1)
        answers, essence_AV = log_p[: len(position_P)], log_p[len(position_P) :]
        picked_P = answers.gather(1, self.token_P[scored][:, None])[:, 0] * self.weight_P[scored].to(log_p.dtype)
        nll_A = -torch.zeros_like(active, dtype=log_p.dtype).index_add(0, position_P // width, picked_P)

        if self.initial_log_p_FV is None:
            self.initial_log_p_FV = essence_AV.detach()
        kl_A = (essence_AV.exp() * (essence_AV - self.initial_log_p_FV[active])).sum(-1)
        decay_A = delta_FD[active].norm(dim=1) / self.origin_FD[active].norm(dim=1) ** 2
        return nll_A + options.kl_weight * kl_A + options.weight_decay * decay_A

    def _moved(self, delta_AD: Tensor, row_S: Tensor) -> Tensor:
        """The block's output with each fact's δ added at its lookup tokens, [S, T, D]."""
        hidden_STD = self.hidden_STD[row_S]
        rows = torch.arange(len(row_S), device=row_S.device)
        shift_SD = delta_AD.repeat_interleave(self.rows_per_fact, dim=0).to(hidden_STD.dtype)
        return hidden_STD.index_put((rows, self.lookup_S[row_S]), shift_SD, accumulate=True)
