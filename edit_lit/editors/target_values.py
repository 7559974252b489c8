"""Target values: the hidden states at the subject's last token that make a model say the new object.

Shape legend: F facts, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from edit_lit import distributed
from edit_lit.batching import length_batches
from edit_lit.editors.norm_anchor import NormAnchor
from edit_lit.editors.prompts import SubjectRow
from edit_lit.editors.sites import BlockOutput, Site
from edit_lit.editors.target_chunk import Descent, TargetChunk
from edit_lit.facts.request import SUBJECT_SLOT
from edit_lit.language_model import LanguageModel, working_type


@dataclass(frozen=True)
class Anchor:
    """Anchored dimensions: most of a target value stays as it was (EAC, Xu et al., arXiv 2503.00035).

    A first descent finds which dimensions matter, by abs(mean gradient · δ); a second one moves only those.

    Args:
        share: Share of the dimensions that may move in the second descent.
        first_steps: Forward passes of the first descent.
        warm_start: Start the second descent from the first one's δ in these dimensions, as the ROME variant does;
            from zero if not, as the MEMIT variant does.
        l1: Weight of Σ abs(δ) / (score + 10⁻⁶) in the second descent's loss.
    """

    share: float = 0.05
    first_steps: int = 10
    warm_start: bool = False
    l1: float = 5e-7

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"target_values.anchor.share is {self.share}; it must lie above 0 and at most at 1.")
        if self.first_steps < 2:
            raise ValueError(f"target_values.anchor.first_steps is {self.first_steps}; at least 2 are needed.")


@dataclass(frozen=True)
class TargetValues:
    """How target values are optimised (MEMIT, arXiv 2210.07229, §4.2 and equation 16).

    For each fact a vector δ is added to a layer's output at the subject's last token and minimises

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
        stop_correct: A fact is also finished at this many passes in which every target token is the most probable
            one in every context (most-probable early stopping of ENCORE, arXiv 2502.01636). Never if not given.
        correct_nll_weight: Weight of the NLL in the pass after one in which every target token is the most probable
            one; PMET has 0.1.
        correct_stop_kl: A fact is also finished when every target token is the most probable one and the weighted
            KL term is at most this; PMET has 0.01. Never if not given.
        anchor: Leave most dimensions of the value as they were (EAC).
        norm_anchor: Scale values to the length that is usual in the unedited model (NAS).
    """

    steps: int = 25
    lr: float = 0.5
    stop_loss: float = 0.05
    clamp: float = 0.75
    weight_decay: float = 0.5
    kl_weight: float = 0.0625
    essence: str = "{} is a"
    chunk: int = 16
    stop_correct: int | None = None
    correct_nll_weight: float = 1.0
    correct_stop_kl: float | None = None
    anchor: Anchor | None = None
    norm_anchor: NormAnchor | None = None

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise ValueError(f"target_values.steps is {self.steps}; at least 2 are needed for one update.")
        if self.chunk < 1:
            raise ValueError(f"target_values.chunk is {self.chunk}; it must be at least 1.")
        if self.essence.count(SUBJECT_SLOT) != 1:
            raise ValueError(f"target_values.essence is {self.essence!r}; it needs exactly one '{{}}'.")
        if self.stop_correct is not None and self.stop_correct < 1:
            raise ValueError(f"target_values.stop_correct is {self.stop_correct}; it must be at least 1, or null.")

    def optimise(
        self,
        language_model: LanguageModel,
        layer: int,
        prompts: Sequence[Sequence[SubjectRow]],
        essences: Sequence[SubjectRow],
        site: Site = BlockOutput(),
    ) -> OptimisedValues:
        """Target values of all facts, shared over processes by whole chunks.

        Args:
            language_model: A frozen model.
            layer: The layer whose output is moved.
            prompts: Each fact's prompt in each context, the bare one first.
            essences: Each fact's essence statement.
            site: The part of the layer whose output is moved.

        Returns:
            Values in the facts' order.
        """
        facts = len(prompts)
        reference = next(language_model.model.parameters())
        values = torch.zeros(facts, language_model.hidden_size, dtype=working_type(reference), device=reference.device)
        # By column: forward passes, last loss, last NLL, and whether the fact finished.
        notes = torch.zeros(facts, 4, dtype=torch.float64, device=reference.device)
        lengths = [max(len(row.ids) for row in rows) for rows in prompts]
        chunks = length_batches(lengths, max_tokens=max(lengths) * self.chunk, max_rows=self.chunk)
        with tqdm(total=facts, desc="target values", unit="fact", disable=distributed.rank() > 0) as bar:
            for numbers in distributed.shard(chunks):
                chunk = TargetChunk(
                    self, language_model, layer, [[*prompts[fact], essences[fact]] for fact in numbers], site
                )
                found = self._descend(chunk)
                values[numbers] = chunk.origin_FMD[:, 0] + found.delta_FMD[:, 0]
                notes[numbers] = torch.stack([found.steps_F, found.losses_F, found.nll_F, found.finished_F], 1).double()
                bar.update(len(numbers) * distributed.world_size())
        distributed.sum_over_processes(values)
        steps, losses, nll, finished = distributed.sum_over_processes(notes).unbind(1)
        return OptimisedValues(values, steps.long(), losses, nll, finished == 0)

    def _descend(self, chunk: TargetChunk) -> Descent:
        start_FMD = torch.zeros_like(chunk.origin_FMD)
        if self.anchor is None:
            return chunk.descend(start_FMD, self.steps)
        first = chunk.descend(start_FMD, self.anchor.first_steps)
        scores_FMD = (first.mean_gradient_FMD * first.delta_FMD).abs()
        count = max(1, round(self.anchor.share * scores_FMD.shape[-1]))
        free_FMD = torch.zeros_like(scores_FMD).scatter(-1, scores_FMD.topk(count, dim=-1).indices, 1.0)
        if self.anchor.warm_start:
            start_FMD = first.delta_FMD * free_FMD
        return chunk.descend(start_FMD, self.steps, free_FMD, self.anchor.l1 / (scores_FMD + 1e-6))


@dataclass(frozen=True)
class OptimisedValues:
    """What the optimisation found.

    Args:
        values: Target hidden states z, [facts, D].
        steps: Forward passes that each fact took, [facts].
        losses: Loss of each fact at its last pass, [facts].
        nll: Mean negative log-likelihood per target token at that pass, in nats, [facts].
        unfinished: Facts that met no condition to stop, [facts].
    """

    values: Tensor
    steps: Tensor
    losses: Tensor
    nll: Tensor
    unfinished: Tensor
