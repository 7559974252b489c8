"""CounterFact as a fact source, in the schemas of ROME and of EasyEdit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edit_lit.facts.neighbors import with_neighbor_subjects
from edit_lit.facts.record_source import RecordSource, template_of
from edit_lit.facts.request import SUBJECT_SLOT, EditRequest, Question
from edit_lit.records.fields import Fields
from edit_lit.utilities.errors import ConfigError


@dataclass(kw_only=True, eq=False)
class CounterFact(RecordSource):
    """CounterFact records of ROME and MEMIT, or of EasyEdit; the fields of a record say which.

    ROME's schema has ``requested_rewrite`` with a templated prompt, ``paraphrase_prompts`` and
    ``neighborhood_prompts``. EasyEdit's is flat: ``prompt`` with the subject written out, ``target_new``,
    ``ground_truth``, ``rephrase_prompt``, ``locality_prompt`` with ``locality_ground_truth``, and perhaps
    ``portability`` with a new question and answer.

    A neighbour's answer is the old object, which the new one must not beat; a neighbour that brings an answer of its
    own keeps it, and has the new object as its alternative. The schemas do not say which part of a neighbour's prompt
    is its subject; it is told from the prompts of the other facts of the relation, of which the whole file is read. A
    neighbour that brings a ``subject`` keeps it.

    Args:
        relations: Relations to take, such as ``[P36, P103]``; all of them if not given. Their facts come before
            ``indices`` and all other choice.
    """

    relations: Sequence[str] | None = None

    def requests(self, record: Fields, number: int) -> list[EditRequest]:
        """One request, whichever the record's schema."""
        return [_rome(record, number) if "requested_rewrite" in record else _easy_edit(record, number)]

    def read(self) -> list[EditRequest]:
        """The requests of the chosen relations, with their neighbours' subjects filled in."""
        requests = with_neighbor_subjects(super().read())
        if self.relations is None:
            return requests
        absent = sorted(set(self.relations) - {str(request.relation) for request in requests})
        if absent:
            raise ConfigError(f"relations names {', '.join(absent)}, of which {self.path} has no record. Drop it.")
        return [request for request in requests if request.relation in self.relations]


def _rome(record: Fields, number: int) -> EditRequest:
    rewrite = record.inner("requested_rewrite")
    target_new = rewrite.inner("target_new").text("str")
    target_true = rewrite.inner("target_true").text("str")
    subject, prompt = rewrite.text("subject"), rewrite.text("prompt")
    return EditRequest(
        subject=subject,
        prompt=prompt if SUBJECT_SLOT in prompt else template_of(prompt, subject),
        target_new=target_new,
        target_true=target_true,
        paraphrases=record.texts("paraphrase_prompts"),
        neighborhood=tuple(
            _neighbor(record, item, place, target_true, target_new)
            for place, item in enumerate(record.items("neighborhood_prompts"))
        ),
        id=record.label("case_id") or str(number),
        relation=rewrite.optional("relation_id"),
    )


def _neighbor(record: Fields, item: Any, place: int, target_true: str, target_new: str) -> Question:
    if isinstance(item, str):
        (prompt,) = Fields({"neighborhood_prompts": [item]}, record.where).texts("neighborhood_prompts")
        return Question(prompt, target_true, target_new)
    own = Fields(item, f"{record.where}, neighborhood_prompts {place}")
    return Question(own.text("prompt"), own.answers("target")[0], target_new, own.optional("subject"))


def _easy_edit(record: Fields, number: int) -> EditRequest:
    subject = record.text("subject")
    target_new = record.answers("target_new")[0]
    return EditRequest(
        subject=subject,
        prompt=template_of(record.text("prompt"), subject),
        target_new=target_new,
        target_true=record.answers("ground_truth")[0] if "ground_truth" in record else None,
        paraphrases=record.answers("rephrase_prompt") if "rephrase_prompt" in record else (),
        neighborhood=_locality(record, target_new),
        portability=portability_of(record),
        id=record.label("case_id") or str(number),
        relation=record.optional("relation_id"),
    )


def _locality(record: Fields, target_new: str) -> tuple[Question, ...]:
    if "locality_prompt" not in record:
        return ()
    return (Question(record.text("locality_prompt"), record.answers("locality_ground_truth")[0], target_new),)


def portability_of(record: Fields) -> tuple[Question, ...]:
    """The question that EasyEdit adds to CounterFact and zsRE records, whose answer follows from the new fact."""
    if "portability" not in record:
        return ()
    portability = record.inner("portability")
    return (Question(portability.text("New Question"), portability.text("New Answer")),)
