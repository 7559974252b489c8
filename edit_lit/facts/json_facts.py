"""A fact source for a person's own edits in a file."""

from __future__ import annotations

from collections.abc import Sequence

from edit_lit.facts.record_source import RecordSource
from edit_lit.facts.request import EditRequest, Question
from edit_lit.records.fields import Fields
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.text import shown

_FIELDS = (
    "subject",
    "prompt",
    "target_new",
    "target_true",
    "id",
    "relation",
    "paraphrases",
    "neighborhood",
    "portability",
)
_QUESTION_FIELDS = ("prompt", "answer", "alternative", "subject")


class JsonFacts(RecordSource):
    """Edit requests from a JSON list, JSON Lines, CSV, TSV or Parquet, or from a data set on the hub.

    Each record has ``subject``, ``prompt`` with one ``{}``, and ``target_new``; and may have ``target_true``,
    ``paraphrases`` (full prompts), ``neighborhood`` and ``portability`` (each a list of objects with ``prompt``,
    ``answer`` and perhaps ``alternative`` and ``subject``), ``id`` and ``relation``. In a CSV file the lists are
    written as JSON inside their cells, and an empty cell is an absent field. Numbers are refused where texts belong,
    except as ``id``.
    """

    def requests(self, record: Fields, number: int) -> list[EditRequest]:
        """One request, from the fields of its own names."""
        _refuse_others(record, _FIELDS)
        request = EditRequest(
            subject=record.text("subject"),
            prompt=record.text("prompt"),
            target_new=record.text("target_new"),
            target_true=record.optional("target_true"),
            paraphrases=record.texts("paraphrases"),
            neighborhood=_questions(record, "neighborhood"),
            portability=_questions(record, "portability"),
            id=record.label("id") or str(number),
            relation=record.optional("relation"),
        )
        return [request]


def _questions(record: Fields, name: str) -> tuple[Question, ...]:
    return tuple(_question(item) for item in record.inners(name))


def _question(item: Fields) -> Question:
    _refuse_others(item, _QUESTION_FIELDS)
    return Question(item.text("prompt"), item.text("answer"), item.optional("alternative"), item.optional("subject"))


def _refuse_others(record: Fields, names: Sequence[str]) -> None:
    """Refuse a record with other fields than these, which may be misspelt."""
    for name in record.record:
        if name not in names:
            raise ConfigError(f"{record.where}: there is no field {shown(name)}. The fields are {', '.join(names)}.")
