"""Instruction data in the Alpaca format, commonsense_170k among it."""

from __future__ import annotations

import re

from edit_lit.records.fields import Fields
from edit_lit.tasks.record_task import Item, RecordTask
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.text import shown

_FORMAT = re.compile(r"Answer format: (\S+)\s*$")


class Instructions(RecordTask):
    """Records with ``instruction``, perhaps ``input``, and ``output``, as Alpaca and commonsense_170k have them.

    The accuracy is on ``answer``, the part of the output that counts, and on all of the output where there is none. The
    choices are the field ``choices``, or what an instruction lists at its end as ``Answer format: answer1/answer2``.
    """

    def item(self, record: Fields) -> Item:
        """The record's own fields."""
        instruction, output = record.text("instruction"), record.text("output").strip()
        answer = record.text("answer").strip() if record.record.get("answer") else output
        if answer not in output:
            raise ConfigError(
                f"{record.where}: answer is {shown(answer)}, which the output {shown(output)} does not hold."
            )
        listed = _FORMAT.search(instruction)
        choices = tuple(listed[1].split("/")) if listed else ()
        choices = record.texts("choices") or choices
        return Item(
            instruction=instruction,
            output=output,
            input=record.text("input") if record.record.get("input") else "",
            answer=answer,
            choices=choices if answer in choices else (),
        )
