"""HotpotQA: questions that need two paragraphs."""

from __future__ import annotations

from dataclasses import dataclass

from edit_lit.records.fields import Fields
from edit_lit.tasks.record_task import Item, RecordTask


@dataclass(kw_only=True, eq=False)
class HotpotQa(RecordTask):
    """HotpotQA: ``question``, ``answer`` and ``context``, in the format of its own files or of the hub.

    Args:
        context: Give the paragraphs with the question (open book); without them the model answers from what it knows.
    """

    context: bool = False

    def item(self, record: Fields) -> Item:
        """The question, its paragraphs if wanted, and the answer."""
        answer = record.text("answer").strip()
        return Item(
            instruction=record.text("question").strip(),
            input=_paragraphs(record) if self.context else "",
            output=answer,
            answer=answer,
        )


def _paragraphs(record: Fields) -> str:
    """A line for each paragraph, its title first; the hub has titles and sentences in lists of their own."""
    if isinstance(record.record.get("context"), list):
        pairs = record.items("context")
    else:
        context = record.inner("context")
        titles, sentences = context.items("title"), context.items("sentences")
        if len(titles) != len(sentences):
            raise record.wrong("context", f"{len(titles)} titles", f"as many as sentences, {len(sentences)}")
        pairs = [list(pair) for pair in zip(titles, sentences, strict=True)]
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], list)):
            raise record.wrong("context", pair, "pairs of a title and a list of sentences")
        Fields({"title": pair[0]}, f"{record.where}, context").text("title")
        Fields({"sentences": pair[1]}, f"{record.where}, context").texts("sentences")
    return "\n".join(f"{title}: {''.join(sentences)}" for title, sentences in pairs)
