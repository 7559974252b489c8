"""KnowEdit as a fact source: edits with groups of portability and locality questions."""

from __future__ import annotations

from edit_lit.facts.record_source import RecordSource, template_of
from edit_lit.facts.request import EditRequest, Question
from edit_lit.records.fields import Fields


class KnowEdit(RecordSource):
    """KnowEdit records (WikiData recent and counterfactual, zsRE) in EasyEdit's format.

    All groups of ``portability`` become portability questions and all groups of ``locality`` neighbourhood questions,
    in the record's order; of the answers to one question the first counts.
    """

    def requests(self, record: Fields, number: int) -> list[EditRequest]:
        """One request."""
        subject = record.text("subject")
        request = EditRequest(
            subject=subject,
            prompt=template_of(record.text("prompt"), subject),
            target_new=record.answers("target_new")[0],
            target_true=record.answers("ground_truth")[0] if record.record.get("ground_truth") else None,
            paraphrases=record.answers("rephrase_prompt") if "rephrase_prompt" in record else (),
            neighborhood=_groups(record, "locality"),
            portability=_groups(record, "portability"),
            id=record.label("case_id") or str(number),
        )
        return [request]


def _groups(record: Fields, name: str) -> tuple[Question, ...]:
    if name not in record:
        return ()
    groups = record.inner(name)
    return tuple(
        Question(question.answers("prompt")[0], question.answers("ground_truth")[0])
        for group in groups.record
        for question in groups.inners(group)
    )
