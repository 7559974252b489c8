"""MQuAKE as a fact source: multi-hop questions whose answers need several edited facts."""

from __future__ import annotations

from edit_lit.facts.record_source import RecordSource
from edit_lit.facts.request import EditRequest, Question
from edit_lit.records.fields import Fields
from edit_lit.utilities.errors import ConfigError


class MQuAKE(RecordSource):
    """MQuAKE cases: several rewrites each, with multi-hop questions that hold once all of them are made.

    Every rewrite becomes a request of its own, called ``case/rewrite``; ``limit`` and ``indices`` count requests.
    Their order keeps a case together as long as ``seed`` is not given. The case's questions are the portability
    questions of its first request, asked for ``new_answer`` against ``answer``; a rewrite's own question is its
    paraphrase.
    """

    def requests(self, record: Fields, number: int) -> list[EditRequest]:
        """One request for each rewrite of the case."""
        case = record.label("case_id") or str(number)
        rewrites = record.inners("requested_rewrite")
        if not rewrites:
            raise ConfigError(f"{record.where}: requested_rewrite holds no rewrite. Give the case at least one.")
        hops = tuple(
            Question(question, record.text("new_answer"), record.optional("answer"))
            for question in record.texts("questions")
        )
        return [
            EditRequest(
                subject=rewrite.text("subject"),
                prompt=rewrite.text("prompt"),
                target_new=rewrite.inner("target_new").text("str"),
                target_true=rewrite.inner("target_true").text("str"),
                paraphrases=(rewrite.text("question"),) if "question" in rewrite else (),
                portability=hops if place == 0 else (),
                id=f"{case}/{place}",
                relation=rewrite.optional("relation_id"),
            )
            for place, rewrite in enumerate(rewrites)
        ]
