"""What all fact sources made of records share: reading, checking and the choice of what to do about errors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

from edit_lit.errors import ConfigError
from edit_lit.facts.request import SUBJECT_SLOT, EditRequest, last_mention
from edit_lit.facts.source import FactSource
from edit_lit.records.fields import Fields
from edit_lit.records.readers import check_path, read_records

Maker = Callable[[Fields, int], list[EditRequest]]
"""Makes the requests of a record, given its position; raises a ConfigError if the record is malformed."""


class RecordSource(FactSource):
    """Edit requests made of records; a subclass reads them and says how one record becomes requests.

    Args:
        path: A local file, a URL such as ``hf://datasets/owner/name/file.json``, or a data set on the hub.
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
        limit: int | None = None,
        seed: int | None = None,
        skip: int = 0,
        indices: Sequence[int] | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        name: str | None = None,
        split: str = "train",
    ) -> None:
        super().__init__(limit, seed, skip, indices)
        if on_error not in ("raise", "skip"):
            raise ConfigError(f"on_error is {on_error!r}; use 'raise' or 'skip'.")
        check_path(path)
        self.path = path
        self.on_error = on_error
        self.name = name
        self.split = split

    def records(self) -> list[Any]:
        """The records, in their order."""
        return read_records(self.path, self.name, self.split)

    def collect(self, records: Sequence[Any], make: Maker) -> list[EditRequest]:
        """The requests of all records, in their order.

        Args:
            records: The records.
            make: Makes the requests of one record.

        Raises:
            ConfigError: If a record is malformed, unless ``on_error`` is ``skip``.
        """
        requests: list[EditRequest] = []
        errors: list[ConfigError] = []
        for number, record in enumerate(records):
            try:
                requests += self._made(record, number, make)
            except ConfigError as error:
                if self.on_error == "raise":
                    raise
                errors.append(error)
        if errors:
            warnings.warn(
                f"{len(errors)} of {len(records)} records are malformed and left out, the first because: {errors[0]}",
                stacklevel=3,
            )
        return requests

    def _made(self, record: Any, number: int, make: Maker) -> list[EditRequest]:
        where = f"{self.path}, record {number}"
        try:
            return make(Fields(record, where), number)
        except ConfigError as error:
            if str(error).startswith(where):
                raise
            raise ConfigError(f"{where}: {error}") from error


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
        raise ConfigError(f"the prompt {prompt!r} holds '{{}}' although it names its subject. Write one or the other.")
    place = last_mention(prompt, subject)
    if place < 0:
        raise ConfigError(
            f"the subject {subject!r} does not occur in the prompt {prompt!r}. Spell it as the prompt does."
        )
    return prompt[:place] + SUBJECT_SLOT + prompt[place + len(subject) :]
