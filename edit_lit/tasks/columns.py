"""A task from any table, by templates that name its columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edit_lit.records.fields import Fields
from edit_lit.tasks.prompt_templates import Plain, PromptTemplate
from edit_lit.tasks.record_task import Item, RecordTask
from edit_lit.utilities.errors import ConfigError

_COLUMN = re.compile(r"\{(\w+)\}")


@dataclass(kw_only=True, eq=False)
class Columns(RecordTask):
    """Records of any data set, worded by templates in which ``{column}`` stands for a column's value.

    Args:
        instruction: Template of what is asked, such as ``Translate to German: {en}``.
        output: Template of what should be written, such as ``{de}``. All of it counts for the accuracy.
        input: Template of what it is asked about, if anything.
        choices: What the output is chosen from, if it is a choice.
    """

    instruction: str
    output: str
    input: str = ""
    choices: Sequence[str] = ()
    prompt: PromptTemplate = Plain()

    def item(self, record: Fields) -> Item:
        """The templates, filled from the record's columns."""
        instruction, output, input_ = (_filled(part, record) for part in (self.instruction, self.output, self.input))
        if not output.strip():
            raise ConfigError(f"{record.where}: the output template {self.output!r} gives no text.")
        chosen = tuple(self.choices) if output.strip() in self.choices else ()
        return Item(instruction, output.strip(), input_, output.strip(), chosen)


def _filled(template: str, record: Fields) -> str:
    def value(match: re.Match[str]) -> str:
        found = record.label(match[1])
        if found is None:
            has = ", ".join(record.record)
            raise ConfigError(f"{record.where}: there is no column {match[1]!r} for {template!r}. It has {has}.")
        return found

    return _COLUMN.sub(value, template)
