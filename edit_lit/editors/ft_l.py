"""FT-L: fine-tunes one MLP matrix within an L∞ bound."""

from __future__ import annotations

from collections.abc import Sequence

from edit_lit.editors.base.constraints import UpdateConstraint
from edit_lit.editors.base.schedule import Schedule
from edit_lit.editors.gradient.editor import GradientEditor
from edit_lit.editors.gradient.training import TargetTraining, prompt_last, teacher_forced
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.scoring import ScoredRow
from edit_lit.utilities.checks import check_number


class FTL(GradientEditor):
    """FT-L: trains one matrix within narrow bounds (Zhu et al., arXiv 2012.00363; Meng et al., arXiv 2202.05262).

    As in the published comparisons, the distribution at the prompt's last token is asked for every token of the
    target at once, which cannot be met by a target of several tokens; ``teacher_forcing`` lifts that.

    Args:
        layers: The layers to edit. If not given: the one at two thirds of the depth, which is 21 of 32 as published
            for 32-layer models.
        max_change: Largest change of any entry of the matrix (L∞), against the unedited weights; no limit if null.
            Published: 5.0e-4 for GPT-2 XL, 5.0e-5 for GPT-J.
        teacher_forcing: Predict each target token from the prompt and the tokens before it.
        training: The optimisation.
        constraint: Limits what is written; nothing does if not given.
        schedule: Batches and paraphrases. Facts of a batch are trained together, batches one after another.
    """

    def __init__(
        self,
        layers: list[int] | None = None,
        max_change: float | None = 5e-4,
        teacher_forcing: bool = False,
        training: TargetTraining = TargetTraining(),
        constraint: UpdateConstraint | None = None,
        schedule: Schedule = Schedule(),
    ) -> None:
        super().__init__(layers, training, constraint, schedule)
        check_number("max_change", max_change, above=0, null="for no limit")
        self.max_change = max_change
        self.teacher_forcing = teacher_forcing

    def rows(self, language_model: LanguageModel, requests: Sequence[EditRequest]) -> list[ScoredRow]:
        """The prompts, with the target after them or not."""
        if self.teacher_forcing:
            return teacher_forced(language_model.tokenizer, requests, end=False)
        return prompt_last(language_model.tokenizer, requests)
