"""The intrinsic pool: facts that the unedited model knows and nobody edits, the control for ordinary forgetting."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from edit_lit.facts.request import EditRequest, subjects_of
from edit_lit.facts.source import FactSource
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.spans import encode_many
from edit_lit.measures.outcomes import Outcomes, Pool, check_unedited
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import Rule, success
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError

log = logging.getLogger(__name__)


class IntrinsicPool:
    """Facts that the model answers right, as the control for ordinary forgetting.

    The unedited model is asked every candidate's rewrite prompt; what it fails is left out. The subjects of the edits
    never come in. Matched, the pool resembles the edits: for each edit in turn the known fact that is nearest to it
    is taken, each at most once. Differences count in standard deviations of the candidates, those of both criteria
    added up.

    Args:
        source: The candidates, each with a ``target_true``. Its ``limit`` bounds how many are asked.
        size: How many facts to keep. If not given, as many as there are edits when matched, else all that are known.
        rule: The success rule by which a fact is known; the same rules score the edits.
        min_probability: Keep only facts whose answer has at least this probability, as the mean (geometric) over its
            tokens. Edits are often held with probabilities near 1, and a fair control is, too.
        match_length: Match the number of tokens of the prompts.
        match_confidence: Match the probability of ``target_true`` before the edit.
    """

    def __init__(
        self,
        source: FactSource,
        size: int | None = None,
        rule: Literal["prob", "exact", "first"] = "exact",
        min_probability: float = 0.0,
        match_length: bool = False,
        match_confidence: bool = False,
    ) -> None:
        check_number("size", size, least=1, null="for every known fact")
        check_number("min_probability", min_probability, least=0, below=1)
        self.source = source
        self.size = size
        self.rule = Rule(rule)
        self.min_probability = min_probability
        self.match_length = match_length
        self.match_confidence = match_confidence

    def choose(self, language_model: LanguageModel, edits: Sequence[EditRequest]) -> list[EditRequest]:
        """Ask the model and choose; all processes work on it together and choose the same.

        Args:
            language_model: The unedited model.
            edits: The requests, whose subjects are kept out and which the pool may be matched to.

        Raises:
            ConfigError: If the model's answers are not numbers, if it knows none of the candidates, or there is
                nothing to match them to.
        """
        candidates = self.source.load(exclude_subjects=subjects_of(edits))
        outcomes = _ask(language_model, candidates)
        known = (success(outcomes, self.rule) >= 1) & (_confidence(outcomes) >= self.min_probability)
        kept = known.nonzero()[:, 0]
        if not len(kept):
            raise ConfigError(
                f"data.intrinsic: the model knows none of the {len(candidates)} facts by rule {self.rule}, with "
                f"min_probability {self.min_probability}. Name another source or a weaker rule."
            )
        facts, outcomes = [candidates[int(index)] for index in kept], outcomes[kept]
        chosen = self._matched(language_model, facts, outcomes, edits) if self._matches else facts[: self.size]
        log.info("intrinsic pool: %d of %d facts are known, %d kept", len(facts), len(candidates), len(chosen))
        if self.size is not None and len(chosen) < self.size:
            warnings.warn(
                f"data.intrinsic.size is {self.size}, but the model knows {len(facts)} facts only. Ask for more.",
                stacklevel=2,
            )
        return chosen

    @property
    def _matches(self) -> bool:
        return self.match_length or self.match_confidence

    def _matched(
        self, language_model: LanguageModel, facts: list[EditRequest], outcomes: Outcomes, edits: Sequence[EditRequest]
    ) -> list[EditRequest]:
        if not edits:
            raise ConfigError("data.intrinsic is to be matched to the edits, but there are none. Switch matching off.")
        pairs: list[tuple[Tensor, Tensor]] = []
        if self.match_length:
            pairs.append((_lengths(language_model, facts), _lengths(language_model, edits)))
        if self.match_confidence:
            _check_true_targets(edits)
            pairs.append((_confidence(outcomes), _confidence(_ask(language_model, edits))))
        distance = sum((_distance(ours, theirs) for ours, theirs in pairs), torch.zeros(len(edits), len(facts)))
        size = min(self.size or len(edits), len(facts))
        return [facts[index] for index in nearest_unused(distance, size)]


def nearest_unused(distance: Tensor, size: int) -> list[int]:
    """For each row in turn, and again from the first, the nearest column that is not taken yet.

    Args:
        distance: [rows, columns].
        size: How many columns to take.

    Returns:
        The columns, in the order in which they were taken.
    """
    distance = distance.clone()
    taken = []
    for turn in range(size):
        column = int(distance[turn % len(distance)].argmin())
        taken.append(column)
        distance[:, column] = torch.inf
    return taken


def _ask(language_model: LanguageModel, requests: Sequence[EditRequest]) -> Outcomes:
    """One row per request: how it answers its rewrite prompt with ``target_true``."""
    bare = [replace(request, paraphrases=(), neighborhood=(), portability=()) for request in requests]
    outcomes = Probe(bare, language_model.tokenizer, Pool.INTRINSIC).run(language_model)
    check_unedited(outcomes)
    return outcomes


def _confidence(outcomes: Outcomes) -> Tensor:
    return (-outcomes.nll[:, 0]).exp()


def _lengths(language_model: LanguageModel, requests: Sequence[EditRequest]) -> Tensor:
    encoded = encode_many(language_model.tokenizer, [request.question for request in requests])
    return torch.tensor([float(len(text.ids)) for text in encoded])


def _distance(ours: Tensor, theirs: Tensor) -> Tensor:
    """Differences in standard deviations of ours, [theirs, ours]."""
    spread = ours.std(unbiased=False)
    difference = (theirs[:, None] - ours[None]).abs().float()
    return difference / spread.float() if spread > 0 else difference * 0


def _check_true_targets(edits: Sequence[EditRequest]) -> None:
    for request in edits:
        if request.target_true is None:
            raise ConfigError(
                f"data.intrinsic.match_confidence needs the target_true of every edit, and {request.name} has none. "
                "Match by length only, or choose edits that have one."
            )
