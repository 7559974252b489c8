"""Questions over two paragraphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edit_lit.records.fields import Fields
from edit_lit.tasks.prompt_templates import Alpaca, Prompt
from edit_lit.tasks.record_task import Item, RecordTask
from edit_lit.tasks.scorers import Scorer


class HotpotQa(RecordTask):
    """HotpotQA: ``question``, ``answer`` and ``context``, in the format of its own files or of the hub.

    Args:
        path: A local file, a URL such as ``hf://datasets/owner/name/file.json``, or a data set on the hub.
        context: Give the paragraphs with the question (open book); without them the model answers from what it knows.
        val_path: A file of the same form to measure on.
        val_examples: How many examples to measure on, drawn at random: from the validation part if there is one, else
            held out of the training part. Null takes all of the validation part.
        prompt: The wording.
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
        context: bool = False,
        val_path: str | None = None,
        val_examples: int | None = 120,
        prompt: Prompt = Alpaca(),
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
        self.context = context

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
        pairs = [list(pair) for pair in zip(context.items("title"), context.items("sentences"), strict=True)]
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], list)):
            raise record.wrong("context", pair, "pairs of a title and a list of sentences")
    return "\n".join(f"{title}: {''.join(str(sentence) for sentence in sentences)}" for title, sentences in pairs)
