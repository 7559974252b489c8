"""The base classes of fact sources that are made of records."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from edit_lit.facts.request import SUBJECT_SLOT, EditRequest, last_mention
from edit_lit.facts.source import FactSource
from edit_lit.records.fields import Fields
from edit_lit.records.malformed import MalformedRecords, OnError, check_on_error
from edit_lit.records.readers import check_path, read_records
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.text import shown

Maker = Callable[[Fields, int], list[EditRequest]]
"""Makes the requests of a record, given its position; raises a ConfigError if the record is malformed."""


@dataclass(eq=False)
class RecordFiles(FactSource):
    """A fact source that makes its requests of records, and decides what to do about malformed ones.

    Args:
        path: The file or folder that holds the records, or its URL.
        on_error: ``raise`` refuses a malformed record, naming its index, field and the remedy; ``skip`` leaves it out
            and warns with a count of them.
    """

    path: str
    _: KW_ONLY
    on_error: OnError = "raise"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_on_error(self.on_error)
        check_path(self.path)

    @property
    def called(self) -> str:
        """Class and path."""
        return f"{type(self).__name__} of {self.path}"

    def collect(self, records: Sequence[Any], make: Maker) -> list[EditRequest]:
        """The requests of all records, in their order.

        Args:
            records: The records.
            make: Makes the requests of one record.

        Raises:
            ConfigError: If a record is malformed, unless ``on_error`` is ``skip``; or if all are.
        """
        requests: list[EditRequest] = []
        malformed = MalformedRecords(self.on_error)
        for number, record in enumerate(records):
            where = f"{self.path}, record {number}"
            with malformed.within(where):
                requests += make(Fields(record, where), number)
        if not requests and malformed.errors:
            raise ConfigError(f"{self.path}: every record is malformed. {malformed.errors[0]}")
        malformed.warn(len(records))
        return requests


@dataclass(kw_only=True, eq=False)
class RecordSource(RecordFiles):
    """A fact source whose records are one data set; a subclass says how one record becomes requests.

    Args:
        path: A local file, a URL such as ``hf://datasets/owner/name/file.json``, or a data set on the hub.
        name: Configuration of a hub data set.
        split: Split of a hub data set.
    """

    name: str | None = None
    split: str = "train"

    @abstractmethod
    def requests(self, record: Fields, number: int) -> list[EditRequest]:
        """The requests that one record becomes.

        Args:
            record: The record.
            number: Its position in the data set.

        Raises:
            ConfigError: If the record is malformed.
        """

    def read(self) -> list[EditRequest]:
        """The requests of all records, in their order."""
        return self.collect(self.records(), self.requests)

    def records(self) -> list[Any]:
        """The records, in their order."""
        return read_records(self.path, self.name, self.split)


def template_of(prompt: str, subject: str) -> str:
    """A full prompt with ``{}`` in place of its subject.

    Where the subject occurs more than once, its last mention is replaced and the others stay as text.

    Raises:
        ConfigError: If the subject does not occur, or the prompt holds ``{}`` of its own.

    Examples:
        >>> template_of("The mother tongue of Danielle Darrieux is", "Danielle Darrieux")
        'The mother tongue of {} is'
    """
    if SUBJECT_SLOT in prompt:
        raise ConfigError(
            f"the prompt {shown(prompt)} holds '{{}}' although it names its subject. Write one or the other."
        )
    place = last_mention(prompt, subject)
    if place < 0:
        raise ConfigError(
            f"the subject {shown(subject)} does not occur in the prompt {shown(prompt)}. Spell it as the prompt does."
        )
    return prompt[:place] + SUBJECT_SLOT + prompt[place + len(subject) :]
