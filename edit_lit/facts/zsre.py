"""zsRE question answering as editing requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edit_lit.errors import ConfigError
from edit_lit.facts.counterfact import portability_of
from edit_lit.facts.record_source import RecordSource, template_of
from edit_lit.facts.request import EditRequest, Question
from edit_lit.records.fields import Fields


class ZsRE(RecordSource):
    """zsRE records as MEND published them, with EasyEdit's portability question where there is one.

    ``src`` is the prompt, ``rephrase`` the paraphrase, and ``loc`` (with a question mark, as MEMIT asks it) with
    ``loc_ans`` the neighbour. Of several ``answers`` the first counts. Some records have an empty ``alt``: they are
    malformed under ``target: alt`` only.

    Args:
        path: A local file, a URL such as ``hf://datasets/owner/name/file.json``, or a data set on the hub.
        target: The field that is written. ``answers`` writes the true answer, as ROME and MEMIT do: the edit teaches a
            fact. ``alt`` writes MEND's counterfactual, as EasyEdit does: the edit replaces the true answer.
        limit: How many requests to keep; all of them if not given.
        seed: Shuffle the source with this seed; keep its order if not given.
        skip: How many requests to drop from the front.
        indices: Positions in the source to take, in this order, instead of a shuffled choice.
        on_error: ``raise`` refuses a malformed record, naming its index, field and the remedy; ``skip`` leaves it out
            and warns with a count of them.
        name: Configuration of a hub data set.
        split: Split of a hub data set.
    """

    def __init__(
        self,
        path: str,
        target: Literal["answers", "alt"] = "answers",
        limit: int | None = None,
        seed: int | None = None,
        skip: int = 0,
        indices: Sequence[int] | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        name: str | None = None,
        split: str = "train",
    ) -> None:
        super().__init__(path, limit, seed, skip, indices, on_error, name, split)
        if target not in ("answers", "alt"):
            raise ConfigError(f"target is {target!r}; use 'answers' or 'alt'.")
        self.counterfactual = target == "alt"

    def read(self) -> list[EditRequest]:
        """One request for each record."""
        return self.collect(self.records(), self._requests)

    def _requests(self, record: Fields, number: int) -> list[EditRequest]:
        subject, true = record.text("subject"), record.answers("answers")[0]
        request = EditRequest(
            subject=subject,
            prompt=template_of(record.text("src"), subject),
            target_new=record.text("alt") if self.counterfactual else true,
            target_true=true if self.counterfactual else None,
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
