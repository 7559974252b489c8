"""A person's own edits in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edit_lit.facts.request import EditRequest, Question
from edit_lit.facts.source import FactSource

_TEXTS = ("subject", "prompt", "target_new", "target_true", "id", "relation")
_FIELDS = (*_TEXTS, "paraphrases", "neighborhood", "portability")
_REQUIRED = ("subject", "prompt", "target_new")


class JsonFacts(FactSource):
    """Edit requests from a JSON list (``.json``) or JSON Lines (any other ending).

    Each record has ``subject``, ``prompt`` with one ``{}``, and ``target_new``; and may have ``target_true``,
    ``paraphrases`` (full prompts), ``neighborhood`` and ``portability`` (each a list of objects with ``prompt``,
    ``answer`` and perhaps ``alternative``), ``id`` and ``relation``.

    Args:
        path: The file.
        limit: How many requests to keep; all of them if not given.
        seed: Shuffle the source with this seed; keep its order if not given.
        skip: How many requests to drop from the front.
        indices: Positions in the source to take, in this order, instead of a shuffled choice.
    """

    def __init__(
        self,
        path: str,
        limit: int | None = None,
        seed: int | None = None,
        skip: int = 0,
        indices: Sequence[int] | None = None,
    ) -> None:
        super().__init__(limit, seed, skip, indices)
        if not Path(path).is_file():
            raise ValueError(f"facts path {path!r} is not a file. Name a JSON or JSON Lines file of edit requests.")
        self.path = path

    def read(self) -> list[EditRequest]:
        """All records of the file, in its order."""
        return [self._request(number, record) for number, record in enumerate(self._records())]

    def _records(self) -> list[Any]:
        text = Path(self.path).read_text(encoding="utf-8")
        try:
            if self.path.endswith(".json"):
                records = json.loads(text)
                if not isinstance(records, list):
                    raise ValueError(f"{self.path} holds a {type(records).__name__}; write a list of records.")
                return records
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        except json.JSONDecodeError as error:
            raise ValueError(f"{self.path} is not valid JSON: {error}.") from error

    def _request(self, number: int, record: Any) -> EditRequest:
        where = f"{self.path}, record {number}"
        if not isinstance(record, Mapping):
            raise ValueError(f"{where}: it is a {type(record).__name__}; write an object with {', '.join(_REQUIRED)}.")
        for field in _REQUIRED:
            if field not in record:
                raise ValueError(f"{where}: {field} is missing. Add it.")
        for field, value in record.items():
            if field not in _FIELDS:
                raise ValueError(f"{where}: there is no field {field!r}. The fields are {', '.join(_FIELDS)}.")
            if field in _TEXTS and not isinstance(value, str):
                raise ValueError(f"{where}: {field} is {value!r}; write a text.")
        try:
            return EditRequest(
                **{field: record[field] for field in _TEXTS if field in record and field != "id"},
                id=record.get("id", str(number)),
                paraphrases=_texts(record.get("paraphrases", []), "paraphrases"),
                neighborhood=_questions(record.get("neighborhood", []), "neighborhood"),
                portability=_questions(record.get("portability", []), "portability"),
            )
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error


def _texts(value: Any, field: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
        raise ValueError(f"{field} is {value!r}; write a list of texts.")
    return tuple(value)


def _questions(value: Any, field: str) -> tuple[Question, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{field} is {value!r}; write a list of objects with prompt and answer.")
    questions = []
    for item in value:
        known = isinstance(item, Mapping) and {"prompt", "answer"} <= set(item) <= {"prompt", "answer", "alternative"}
        if not known or not all(isinstance(text, str) and text.strip() for text in item.values()):
            raise ValueError(f"{field} holds {item!r}; write prompt, answer and perhaps alternative, each a text.")
        questions.append(Question(**item))
    return tuple(questions)
