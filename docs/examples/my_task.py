"""A downstream task of one's own: sentences, each to be completed by its last word."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from edit_lit.facts import EditRequest
from edit_lit.tasks import Task
from edit_lit.tasks.task import Example, ExampleList, ExampleSet
from edit_lit.tasks.text import Text, examples_of
from edit_lit.utilities.errors import ConfigError


class LastWord(Task):
    """Fine-tunes on sentences, and scores whether the model writes the last word of those that were held out.

    Args:
        sentences: The sentences, of two words or more.
        held_out: How many of them, from the end, to measure on.
    """

    def __init__(self, sentences: list[str], held_out: int = 1) -> None:
        if not 0 < held_out < len(sentences):
            raise ConfigError(
                f"held_out is {held_out}, but there are {len(sentences)} sentences. Hold out fewer, at least 1."
            )
        self.sentences = sentences
        self.held_out = held_out
        self._train: list[Example] = []
        self._val: list[Example] = []

    def setup(self, tokenizer: PreTrainedTokenizerBase, requests: Sequence[EditRequest]) -> None:
        """Tokenise; the loss is on all tokens, the accuracy on the last word's."""
        parted = [sentence.rpartition(" ") for sentence in self.sentences]
        texts = [Text(prompt=start, completion=last_word, answer=last_word) for start, _, last_word in parted]
        examples = examples_of(tokenizer, texts, train_on_prompt=True)
        self._train, self._val = examples[: -self.held_out], examples[-self.held_out :]

    def train_dataset(self) -> ExampleSet:
        """The sentences to learn from."""
        return ExampleList(self._train)

    def val_dataset(self) -> ExampleSet:
        """The sentences that were held out."""
        return ExampleList(self._val)
