"""A gradient editor of one's own: fine-tuning on the whole statement, prompt included."""

from __future__ import annotations

from collections.abc import Sequence

from edit_lit.editors import Schedule, TargetTraining
from edit_lit.editors.base.constraints import UpdateConstraint
from edit_lit.editors.gradient.editor import GradientEditor
from edit_lit.facts import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.scoring import ScoredRow
from edit_lit.language_model.spans import encode_many, joined


class StatementTuning(GradientEditor):
    """Trains one matrix on the fact as running text, as pre-training would, and not on the target's tokens alone.

    Args:
        layers: The layers to edit; the one at two thirds of the depth if not given.
        training: Learning rate, epochs and when to stop.
        constraint: Limits what is written; nothing does if not given.
        schedule: Batches and paraphrases.
    """

    def __init__(
        self,
        layers: list[int] | None = None,
        training: TargetTraining = TargetTraining(),
        constraint: UpdateConstraint | None = None,
        schedule: Schedule = Schedule(),
    ) -> None:
        super().__init__(layers, training, constraint, schedule)

    def rows(self, language_model: LanguageModel, requests: Sequence[EditRequest]) -> list[ScoredRow]:
        """Every token after the first, predicted from those before it."""
        texts = [joined(request.question, request.target_new) for request in requests]
        encoded = [text.ids for text in encode_many(language_model.tokenizer, texts)]
        return [ScoredRow(ids=ids[:-1], columns=range(len(ids) - 1), tokens=ids[1:]) for ids in encoded]
