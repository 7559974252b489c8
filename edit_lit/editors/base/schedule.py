"""The schedule of an edit: batches, repeated passes and paraphrases."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edit_lit.facts.request import SUBJECT_SLOT, EditRequest
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


@dataclass(frozen=True)
class Schedule:
    """Batches, repeated passes and paraphrases; by default every fact is written once, all at the same time.

    Args:
        batch_size: Facts written together; the next ones go into the model as edited so far. All at once if not
            given.
        passes: How often a batch is written, each time from the model as edited so far (iterative editing,
            arXiv 2503.11895). Target values are searched for anew, so that a pass corrects what the last one missed.
        stop_gap: Stop the passes of a batch when the targets' perplexity in the edited model is at most this far
            from the perplexity that the target values reach by themselves; the paper has about 1. If not given, all
            passes are made.
        paraphrases: How many of each request's paraphrases are written beside it, as requests of their own.
        distinct_subjects: Write the second fact of a subject in a batch of its own, after the others, and so on. Facts
            of one subject have nearly the same key, and written together each gets something between their values.

    Examples:
        >>> requests = [EditRequest(subject, "{} is in", target_new="Paris") for subject in ("Oslo", "Bern", "Oslo")]
        >>> [len(batch) for batch in Schedule(batch_size=2).batches(requests)]
        [2, 1]
        >>> [[request.subject for request in batch] for batch in Schedule(distinct_subjects=True).batches(requests)]
        [['Oslo', 'Bern'], ['Oslo']]
    """

    batch_size: int | None = None
    passes: int = 1
    stop_gap: float | None = None
    paraphrases: int = 0
    distinct_subjects: bool = False

    def __post_init__(self) -> None:
        check_number("schedule.batch_size", self.batch_size, least=1, null="for all facts at once")
        check_number("schedule.passes", self.passes, least=1)
        check_number("schedule.stop_gap", self.stop_gap, least=0, null="for all passes")
        check_number("schedule.paraphrases", self.paraphrases, least=0)
        if self.stop_gap is not None and self.passes == 1:
            warnings.warn("schedule.stop_gap has no effect with one pass. Raise schedule.passes.", stacklevel=3)

    def batches(self, requests: Sequence[EditRequest]) -> list[list[EditRequest]]:
        """The requests in batches, each followed by its paraphrases, which count as part of it.

        Raises:
            ConfigError: If a request has too few paraphrases, or one that does not name its subject.
        """
        size = self.batch_size or len(requests)
        portions = [list(requests[start : start + size]) for start in range(0, len(requests), size)]
        if self.distinct_subjects:
            portions = [turn for portion in portions for turn in _turns(portion)]
        return [[said for request in portion for said in self._said(request)] for portion in portions]

    def _said(self, request: EditRequest) -> list[EditRequest]:
        if len(request.paraphrases) < self.paraphrases:
            raise ConfigError(
                f"{request.name}: schedule.paraphrases is {self.paraphrases}, but it has {len(request.paraphrases)} "
                "paraphrases. Lower it, or give the request more."
            )
        chosen = request.paraphrases[: self.paraphrases]
        return [request, *(_as_request(request, number, text) for number, text in enumerate(chosen, 1))]


def _turns(requests: Sequence[EditRequest]) -> list[list[EditRequest]]:
    """The first fact of every subject, then the second of those that have one, and so on."""
    turns: list[list[EditRequest]] = []
    seen: Counter[str] = Counter()
    for request in requests:
        if seen[request.subject] == len(turns):
            turns.append([])
        turns[seen[request.subject]].append(request)
        seen[request.subject] += 1
    return turns


def _as_request(request: EditRequest, number: int, paraphrase: str) -> EditRequest:
    """A paraphrase as a request; of several mentions of the subject the last counts."""
    before, subject, after = paraphrase.rpartition(request.subject)
    if not subject or SUBJECT_SLOT in paraphrase:
        raise ConfigError(
            f"{request.name}: its paraphrase {paraphrase!r} does not name the subject, so it cannot be written. "
            "Spell the subject out, or lower schedule.paraphrases."
        )
    prompt = f"{before}{SUBJECT_SLOT}{after}"
    return replace(request, prompt=prompt, paraphrases=(), id=f"{request.id or '?'}, paraphrase {number}")
