"""RippleEdits as a fact source: questions about what an edit should change besides, and what it should not."""

from __future__ import annotations

import re

from edit_lit.facts.record_source import RecordSource
from edit_lit.facts.request import SUBJECT_SLOT, EditRequest, Question
from edit_lit.records.fields import Fields
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.text import shown

PORTABILITY = ("Logical_Generalization", "Compositionality_I", "Compositionality_II", "Subject_Aliasing")
LOCALITY = ("Relation_Specifity", "Relation_Specificity", "Forgetfulness")

_NOUN = (
    r"country of citizenship|head of (?:state|government)|field of work|(?:place|date) of (?:birth|death|burial)"
    r"|\w+(?: \w+)?"
)
_BEFORE_OBJECT = tuple(
    re.compile(pattern)
    for pattern in (
        r".+ which (?P<subject>.+) (?:is (?:associated with|a member of|part of|the capital of)|plays in) is (?=.)",
        r"The number of children (?P<subject>.+) has is (?=.)",
        r"The name of the award (?P<subject>.+) won is (?=.)",
        r"The name of the (?:position held by|currency in) (?P<subject>.+) is (?=.)",
        rf"The (?:names? of the )?(?:{_NOUN}) of (?P<subject>.+) (?:is|are) (?=.)",
        r"(?P<subject>.+) (?:follows|is followed by) (?=.)",
    )
)
"""The wordings of the benchmark up to the object; a record has no other note of its subject's name."""


class RippleEdits(RecordSource):
    """RippleEdits entries, in the format of the benchmark's own files.

    The subject and the objects are read from the edit's sentence, by the wordings that the benchmark uses.
    Logical generalisation, both compositionalities and subject aliasing become portability questions; relation
    specificity and forgetfulness (preservation) neighbourhood questions. Every test query is asked for the first of its
    answers; queries that the benchmark left without an answer, and conditions on what the model knew, are passed over.
    """

    def requests(self, record: Fields, number: int) -> list[EditRequest]:
        """One request."""
        edit = record.inner("edit")
        prompt, subject, target_new = _statement(edit.text("prompt"))
        before = next((name for name in ("original_fact", "previous_fact") if name in edit), None)
        request = EditRequest(
            subject=subject,
            prompt=prompt,
            target_new=target_new,
            target_true=None if before is None else _statement(edit.inner(before).text("prompt"))[2],
            neighborhood=_questions(record, LOCALITY),
            portability=_questions(record, PORTABILITY),
            id=str(number),
            relation=edit.optional("relation"),
        )
        return [request]


def _statement(sentence: str) -> tuple[str, str, str]:
    """Template, subject and object of a sentence like *The mother tongue of Ann is Thai*."""
    for pattern in _BEFORE_OBJECT:
        match = pattern.match(sentence)
        if match is not None:
            start, end = match.span("subject")
            prompt = sentence[:start] + SUBJECT_SLOT + sentence[end : match.end()].rstrip()
            return prompt, match["subject"], sentence[match.end() :].rstrip().removesuffix(".")
    raise ConfigError(
        f"the prompt {shown(sentence)} has none of the benchmark's wordings. Use JsonFacts for other records."
    )


def _questions(record: Fields, groups: tuple[str, ...]) -> tuple[Question, ...]:
    found = []
    for group in groups:
        for test in record.inners(group):
            for query in test.inners("test_queries"):
                answers = [answer.text("value") for answer in query.inners("answers") if answer.record.get("value")]
                if answers:
                    found.append(Question(query.text("prompt" if "prompt" in query else "phrase"), answers[0]))
    return tuple(found)
