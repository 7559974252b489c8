"""SST-2: the sentiment of single sentences, with its label as text."""

from __future__ import annotations

from edit_lit.records.fields import Fields
from edit_lit.tasks.record_task import Item, RecordTask
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.text import shown

LABELS = ("negative", "positive")


class Sst2(RecordTask):
    """SST-2: ``sentence`` and ``label`` (0 negative, 1 positive), with the label written out as the answer."""

    def item(self, record: Fields) -> Item:
        """A question about the sentence."""
        label = record.label("label")
        if label not in ("0", "1"):
            raise ConfigError(f"{record.where}: label is {shown(label)}; write 0 for negative or 1 for positive.")
        word = LABELS[int(label)]
        return Item(
            instruction="Is the sentiment of this sentence positive or negative?",
            input=record.text("sentence").strip(),
            output=word,
            answer=word,
            choices=LABELS,
        )
