"""GSM8K: grade-school maths problems with worked answers."""

from __future__ import annotations

from edit_lit.records.fields import Fields
from edit_lit.tasks.record_task import Item, RecordTask
from edit_lit.utilities.errors import ConfigError


class Gsm8k(RecordTask):
    """GSM8K: ``question``, and the worked ``answer`` that ends in ``#### number``.

    The working is learnt as published, calculator marks included. The score is the scorer ``FinalNumber``; exact
    prediction under teacher forcing would give the working away, so there is no other accuracy.
    """

    def item(self, record: Fields) -> Item:
        """The question and its working."""
        answer = record.text("answer").strip()
        if "####" not in answer:
            raise ConfigError(f"{record.where}: answer has no '####' before its final number. Add it.")
        return Item(instruction=record.text("question").strip(), output=answer)
