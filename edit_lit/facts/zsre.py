"""zsRE question answering as a fact source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edit_lit.facts.counterfact import portability_of
from edit_lit.facts.record_source import RecordSource, template_of
from edit_lit.facts.request import EditRequest, Question
from edit_lit.records.fields import Fields
from edit_lit.utilities.errors import ConfigError


@dataclass(kw_only=True, eq=False)
class ZsRE(RecordSource):
    """zsRE records as MEND published them, with EasyEdit's portability question where there is one.

    ``src`` is the prompt, ``rephrase`` the paraphrase, and ``loc`` (with a question mark, as MEMIT asks it) with
    ``loc_ans`` the neighbour. Of several ``answers`` the first counts. Some records have an empty ``alt``: they are
    malformed under ``target: alt`` only.

    Args:
        target: The field that is written. ``answers`` writes the true answer, as ROME and MEMIT do: the edit teaches a
            fact. ``alt`` writes MEND's counterfactual, as EasyEdit does: the edit replaces the true answer.
    """

    target: Literal["answers", "alt"] = "answers"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target not in ("answers", "alt"):
            raise ConfigError(f"target is {self.target!r}; use 'answers' or 'alt'.")

    def requests(self, record: Fields, number: int) -> list[EditRequest]:
        """One request, for the answer that ``target`` names."""
        subject, true = record.text("subject"), record.answers("answers")[0]
        counterfactual = self.target == "alt"
        request = EditRequest(
            subject=subject,
            prompt=template_of(record.text("src"), subject),
            target_new=record.text("alt") if counterfactual else true,
            target_true=true if counterfactual else None,
            paraphrases=(record.text("rephrase"),) if "rephrase" in record else (),
            neighborhood=_locality(record),
            portability=portability_of(record),
            id=record.label("case_id") or str(number),
        )
        return [request]


def _locality(record: Fields) -> tuple[Question, ...]:
    if "loc" not in record:
        return ()
    prompt = record.text("loc").rstrip()
    return (Question(prompt if prompt.endswith("?") else f"{prompt}?", record.answers("loc_ans")[0]),)
