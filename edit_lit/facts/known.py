"""ROME's list of facts that language models know, as a fact source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edit_lit.facts.other_objects import OtherObjects
from edit_lit.facts.record_source import RecordSource, template_of
from edit_lit.facts.request import EditRequest, name_flaw
from edit_lit.records.fields import Fields


class Known(RecordSource):
    """ROME's list of known facts: ``prompt`` with its ``subject``, and the ``attribute`` that answers it.

    The facts' natural place is the intrinsic pool. They come without a new object, so one is drawn for each among the
    other attributes of its ``relation_id``: the alternative that the known one must beat under the ``prob`` rule.
    """

    def read(self) -> list[EditRequest]:
        """The requests of all records, once it is known which objects each relation has."""
        records = self.records()
        self._other_objects = OtherObjects(_objects(records))
        return self.collect(records, self.requests)

    def requests(self, record: Fields, number: int) -> list[EditRequest]:
        """One request, whose new object is drawn."""
        subject, object_ = record.text("subject"), record.text("attribute").strip()
        relation = record.optional("relation_id")
        request = EditRequest(
            subject=subject,
            prompt=template_of(record.text("prompt"), subject),
            target_new=self._other_objects.draw(relation or "", object_, subject),
            target_true=object_,
            id=record.label("known_id") or str(number),
            relation=relation,
        )
        return [request]


def _objects(records: Sequence[Any]) -> list[tuple[str, str]]:
    """Relations and objects of the records that have them; the others are refused when their turn comes."""
    found = []
    for record in records:
        object_ = record.get("attribute") if isinstance(record, dict) else None
        if isinstance(object_, str) and name_flaw(object_) is None:
            relation = record.get("relation_id")
            found.append((relation if isinstance(relation, str) and relation.strip() else "", object_.strip()))
    return found
