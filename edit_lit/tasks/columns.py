"""A task from any table, by templates that name its columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edit_lit.records.fields import Fields
from edit_lit.tasks.prompt_templates import Plain, PromptTemplate
from edit_lit.tasks.record_task import Item, RecordTask
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.text import shortened

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
"""Written twice a brace stands for itself; between two single ones stands a column's name, whatever is in it."""


@dataclass(kw_only=True, eq=False)
class Columns(RecordTask):
    """Records of any data set, worded by templates in which ``{column}`` stands for a column's value.

    A column may have any name without braces, such as ``{my column}``. A brace that is meant is written twice.

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

    def __post_init__(self) -> None:
        super().__post_init__()
        asked = [*_columns("instruction", self.instruction), *_columns("input", self.input)]
        for option, columns in (("instruction", asked), ("output", _columns("output", self.output))):
            if not columns:
                template = getattr(self, option)
                raise ConfigError(
                    f"task {option} is {template!r}, which names no column, so that every record would say the same. "
                    "Name a column as in '{text}'."
                )

    def item(self, record: Fields) -> Item:
        """The templates, filled from the record's columns.

        Raises:
            ConfigError: If the record has no such column, or an instruction or output has nothing to be filled with.
        """
        instruction, output = _filled(self.instruction, record), _filled(self.output, record)
        input_ = _filled(self.input, record, may_be_empty=True)
        chosen = tuple(self.choices) if output.strip() in self.choices else ()
        return Item(instruction, output.strip(), input_, output.strip(), chosen)


def _columns(option: str, template: str) -> list[str]:
    """The columns that a template names.

    Raises:
        ConfigError: If a brace in it stands alone.
    """
    for match in _PART.finditer(template):
        if match[0] in ("{", "}"):
            raise ConfigError(
                f"task {option} is {template!r}, in which a brace stands alone at character {match.start() + 1}. "
                "Write it twice if it is meant."
            )
    return [match[1] for match in _PART.finditer(template) if match[1] is not None]


def _filled(template: str, record: Fields, may_be_empty: bool = False) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        if match[1] not in record.names:
            has = shortened(", ".join(record.names), 200)
            raise ConfigError(
                f"{record.where}: there is no column {match[1]!r} for {template!r}. It has {has}. "
                "Name one of them, or write a brace twice if it is meant."
            )
        found = record.label(match[1])
        if found is None and not may_be_empty:
            raise ConfigError(f"{record.where}: the column {match[1]!r} is empty, which {template!r} needs. Fill it.")
        return found or ""

    return _PART.sub(value, template)
