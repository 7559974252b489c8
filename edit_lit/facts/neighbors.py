"""Finds the subjects of neighbourhood prompts, for data sets that publish the prompts alone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from edit_lit.facts.request import SUBJECT_SLOT, EditRequest, Question

# Words that belong to the wording, not to a name: they remain where a longer template of which no record is made
# ("{}, that was founded in") ends like one that is known ("{} was founded in").
_LEFT_OVER = re.compile(r"(,|(?<!\S)(who|which|that|is|was)|\? (It|They))$")


def with_neighbor_subjects(requests: Sequence[EditRequest]) -> list[EditRequest]:
    """The requests, with the subjects of their neighbourhood questions filled in where they can be told.

    Neighbours are asked about in the words in which other facts of the relation are, so those facts' prompts are the
    templates: what stands in the place of ``{}`` is the subject. A question that has a subject keeps it, and one
    that fits no template stays without.

    Args:
        requests: All facts of a source, not a choice of them, so that the same is found whatever is chosen.
    """
    templates: defaultdict[str | None, set[str]] = defaultdict(set)
    for request in requests:
        templates[request.relation].add(request.prompt)
    wordings = {relation: _Wordings(of_relation) for relation, of_relation in templates.items()}
    return [
        replace(request, neighborhood=tuple(map(wordings[request.relation].located, request.neighborhood)))
        for request in requests
    ]


class _Wordings:
    """The templates of a relation, ready for looking prompts up."""

    def __init__(self, templates: Iterable[str]) -> None:
        split = (template.strip().split(SUBJECT_SLOT) for template in templates)
        # A template without a word would fit any prompt.
        self._texts = {(before, after) for before, after in split if any(map(str.isalnum, before + after))}
        # Looked up by length: there may be thousands of templates, but not of lengths.
        lengths = {(len(before), len(after)) for before, after in self._texts}
        self._lengths = sorted(lengths, key=lambda pair: (-sum(pair), pair))

    def located(self, question: Question) -> Question:
        """The question with its subject, if it has none and it can be told."""
        if question.subject is not None:
            return question
        return replace(question, subject=self._subject(question.prompt.strip()))

    def _subject(self, prompt: str) -> str | None:
        """What stands in the place of ``{}`` in the template that leaves the least of the prompt to it."""
        for before, after in self._lengths:
            end = len(prompt) - after
            if before < end and (prompt[:before], prompt[end:]) in self._texts:
                subject = prompt[before:end].strip()
                return subject if subject and not _LEFT_OVER.search(subject) else None
        return None
