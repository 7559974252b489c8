"""Any table as a task."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from edit_lit.errors import ConfigError
from edit_lit.records.fields import Fields
from edit_lit.tasks.prompt_templates import Plain, Prompt
from edit_lit.tasks.record_task import Item, RecordTask
from edit_lit.tasks.scorers import Scorer

_COLUMN = re.compile(r"\{(\w+)\}")


class Columns(RecordTask):
    """Records of any data set, worded by templates in which ``{column}`` stands for a column's value.

    Args:
        path: A local file, a URL such as ``hf://datasets/owner/name/file.json``, or a data set on the hub.
        instruction: Template of what is asked, such as ``Translate to German: {en}``.
        output: Template of what should be written, such as ``{de}``. All of it counts for the accuracy.
        input: Template of what it is asked about, if anything.
        choices: What the output is chosen from, if it is a choice.
        val_path: A file of the same form to measure on.
        val_examples: How many examples to measure on, drawn at random: from the validation part if there is one, else
            held out of the training part. Null takes all of the validation part.
        prompt: The wording around instruction and input.
        train_on_prompt: Take the loss on the prompt as well.
        max_tokens: A longer example loses tokens of its prompt, from the left.
        pack_tokens: Pack several training examples into rows of this many tokens, none of which sees another; one a
            row if not given.
        exclude: ``edits`` drops training examples that name an edited subject, object or relation.
        only: ``edits`` keeps these alone.
        scorers: Scores on the validation part beside loss and accuracy by exact prediction.
        limit: Most training examples; all of them if not given.
        seed: Seed of the choice of examples.
        name: Configuration of a hub data set.
        split: Its training split.
        val_split: Its validation split.
    """

    def __init__(
        self,
        path: str,
        instruction: str,
        output: str,
        input: str = "",
        choices: Sequence[str] = (),
        val_path: str | None = None,
        val_examples: int | None = 120,
        prompt: Prompt = Plain(),
        train_on_prompt: bool = False,
        max_tokens: int = 512,
        pack_tokens: int | None = None,
        exclude: Literal["edits"] | None = None,
        only: Literal["edits"] | None = None,
        scorers: Sequence[Scorer] = (),
        limit: int | None = None,
        seed: int = 0,
        name: str | None = None,
        split: str = "train",
        val_split: str | None = None,
    ) -> None:
        super().__init__(
            path,
            val_path,
            val_examples,
            prompt,
            train_on_prompt,
            max_tokens,
            pack_tokens,
            exclude,
            only,
            scorers,
            limit,
            seed,
            name,
            split,
            val_split,
        )
        self.templates = (instruction, output, input)
        self.choices = tuple(choices)

    def item(self, record: Fields) -> Item:
        """The templates, filled from the record's columns."""
        instruction, output, input_ = (_filled(template, record) for template in self.templates)
        if not output.strip():
            raise ConfigError(f"{record.where}: the output template {self.templates[1]!r} gives no text.")
        chosen = self.choices if output.strip() in self.choices else ()
        return Item(instruction, output.strip(), input_, output.strip(), chosen)


def _filled(template: str, record: Fields) -> str:
    def value(match: re.Match[str]) -> str:
        found = record.label(match[1])
        if found is None:
            has = ", ".join(record.record)
            raise ConfigError(f"{record.where}: there is no column {match[1]!r} for {template!r}. It has {has}.")
        return found

    return _COLUMN.sub(value, template)
