"""LocFT-BF: fine-tunes one MLP matrix breadth first, in mini-batches over all facts."""

from __future__ import annotations

from collections.abc import Sequence

from edit_lit.editors.base.constraints import UpdateConstraint
from edit_lit.editors.base.schedule import Schedule
from edit_lit.editors.gradient.editor import GradientEditor
from edit_lit.editors.gradient.training import TargetTraining, teacher_forced
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.scoring import ScoredRow


class LocFTBF(GradientEditor):
    """LocFT-BF: fine-tuning done well, breadth first, in mini-batches, on one matrix (arXiv 2509.22072).

    Every epoch sees all facts, so that none is forgotten while the next is learnt, and the target is followed by the
    end of the text.

    Args:
        layers: The layers to edit. If not given: the one at two thirds of the depth; published are 22 of 32 for
            Llama-3 8B and 6 of 28 for Qwen2.5 7B.
        end_of_text: Train on the end-of-text token after the target.
        training: The optimisation.
        constraint: Limits what is written; nothing does if not given.
        schedule: Paraphrases; all facts make one batch unless ``batch_size`` says otherwise.
    """

    def __init__(
        self,
        layers: list[int] | None = None,
        end_of_text: bool = True,
        training: TargetTraining = TargetTraining(minibatch=100),
        constraint: UpdateConstraint | None = None,
        schedule: Schedule = Schedule(),
    ) -> None:
        super().__init__(layers, training, constraint, schedule)
        self.end_of_text = end_of_text

    def rows(self, language_model: LanguageModel, requests: Sequence[EditRequest]) -> list[ScoredRow]:
        """Prompt, target and end under teacher forcing."""
        return teacher_forced(language_model.tokenizer, requests, end=self.end_of_text)
