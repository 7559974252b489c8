"""FT-M: fine-tunes one MLP matrix on the target tokens, one fact after another."""

from __future__ import annotations

from collections.abc import Sequence

from edit_lit.editors.base.constraints import UpdateConstraint
from edit_lit.editors.base.schedule import Schedule
from edit_lit.editors.gradient.editor import GradientEditor
from edit_lit.editors.gradient.training import TargetTraining, teacher_forced
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.scoring import ScoredRow


class FTM(GradientEditor):
    """FT-M: trains one matrix on the target's tokens, one fact after another (Zhang et al., arXiv 2401.01286).

    Args:
        layers: The layers to edit. If not given: the one at two thirds of the depth, which is 21 of 32 as published
            for 32-layer models.
        training: The optimisation.
        constraint: Limits what is written; nothing does if not given.
        schedule: Batches and paraphrases. Published: every fact is trained to the end before the next.
    """

    def __init__(
        self,
        layers: list[int] | None = None,
        training: TargetTraining = TargetTraining(),
        constraint: UpdateConstraint | None = None,
        schedule: Schedule = Schedule(batch_size=1),
    ) -> None:
        super().__init__(layers, training, constraint, schedule)

    def rows(self, language_model: LanguageModel, requests: Sequence[EditRequest]) -> list[ScoredRow]:
        """Prompt and target under teacher forcing."""
        return teacher_forced(language_model.tokenizer, requests, end=False)
