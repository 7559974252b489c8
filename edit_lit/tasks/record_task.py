"""The base class of tasks made of records: holding out, filtering, wording, packing and scoring."""

from __future__ import annotations

import logging
import random
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.records.fields import Fields
from edit_lit.records.malformed import MalformedRecords
from edit_lit.records.readers import read_records
from edit_lit.tasks.data_set_task import DataSetTask
from edit_lit.tasks.edit_filter import edit_filter
from edit_lit.tasks.packing import check_packing, pack
from edit_lit.tasks.prompt_templates import Alpaca, PromptTemplate
from edit_lit.tasks.scorers import Scorer
from edit_lit.tasks.task import Example, ExampleList
from edit_lit.tasks.text import Text, encoded_texts, text_example
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """One record as instruction, input and output, before a prompt template words it.

    Args:
        instruction: What is asked.
        output: What should be written.
        input: What it is asked about; may be empty.
        answer: The part of ``output`` that counts; empty for none.
        choices: What ``answer`` is chosen from; empty if it is free.
    """

    instruction: str
    output: str
    input: str = ""
    answer: str = ""
    choices: tuple[str, ...] = ()

    def words(self) -> str:
        """Everything that the record says, without any wording around it."""
        return f"{self.instruction}\n{self.input}\n{self.output}"


@dataclass(kw_only=True, eq=False)
class RecordTask(DataSetTask):
    """A task made of records; a subclass says what of a record is the instruction, the input and the output.

    Args:
        val_examples: How many examples to measure on, drawn at random: from the validation part if there is one, else
            held out of the training part. Null takes all of the validation part.
        prompt: The wording around what is asked.
        train_on_prompt: Take the loss on the prompt as well.
        max_tokens: A longer example loses tokens of its prompt, from the left.
        pack_tokens: Pack several training examples into rows of this many tokens, none of which sees another; one a
            row if not given.
        scorers: Scores on the validation part beside loss and accuracy by exact prediction.
    """

    val_examples: int | None = 120
    prompt: PromptTemplate = Alpaca()
    train_on_prompt: bool = False
    max_tokens: int = 512
    pack_tokens: int | None = None
    scorers: Sequence[Scorer] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("task val_examples", self.val_examples, least=1, null="for all of the validation part")
        check_number("task max_tokens", self.max_tokens, least=2)
        check_number("task pack_tokens", self.pack_tokens, least=2, null="for one example a row")
        if self.pack_tokens is not None and self.pack_tokens < self.max_tokens:
            raise ConfigError(f"task pack_tokens is {self.pack_tokens}, below max_tokens {self.max_tokens}. Raise it.")
        self._val_texts: list[Text] = []

    @abstractmethod
    def item(self, record: Fields) -> Item:
        """What a record asks.

        Raises:
            ConfigError: If the record is malformed.
        """

    def setup(self, tokenizer: PreTrainedTokenizerBase, requests: Sequence[EditRequest]) -> None:
        """Read, split, filter, word and tokenise the records.

        Only the training part is filtered, so that all arms of a study are measured on the same examples.

        Raises:
            ConfigError: If a record is malformed and such records are not skipped, or nothing is left to train or to
                measure on.
        """
        train, val = self._split()
        malformed = MalformedRecords(self.on_error)
        items = self._items(train, malformed)
        filter_ = edit_filter(requests, self.exclude, self.only)
        if filter_ is not None:
            items = list(filter_.filter(items, lambda placed: placed[1].words()))
        chosen, _ = self._examples(tokenizer, items[: self.limit], malformed)
        measured, self._val_texts = self._examples(tokenizer, self._items(val, malformed), malformed)
        if not chosen or not measured:
            part, why = ("train", f"val_examples is {self.val_examples}") if not chosen else ("measure", "no record")
            if malformed.errors:
                raise ConfigError(f"{self.path} leaves nothing to {part} on. {malformed.errors[0]}")
            why = filter_.report() if filter_ is not None else why
            raise ConfigError(f"{self.path} leaves nothing to {part} on: {why}. Loosen that, or name another file.")
        malformed.warn(len(train) + len(val))
        if self.limit is not None and len(chosen) < self.limit:
            warnings.warn(
                f"task limit asks for {self.limit} training texts, but {self.path} leaves {len(chosen)}. Lower it.",
                stacklevel=2,
            )
        self._train = ExampleList(chosen if self.pack_tokens is None else list(pack(chosen, self.pack_tokens)))
        self._val = ExampleList(measured)

    def check(self, language_model: LanguageModel) -> None:
        """Refuse a model that reads across packed examples, or has too few positions for an example or a score."""
        super().check(language_model)
        if self.pack_tokens is not None:
            check_packing(language_model, "task pack_tokens")
        for scorer in self.scorers:
            scorer.check(language_model, self._val_texts)

    def score(self, language_model: LanguageModel) -> dict[str, float]:
        """The scorers' numbers on the validation part."""
        scores: dict[str, float] = {}
        for scorer in self.scorers:
            scores |= scorer.score(language_model, self._val_texts)
        return scores

    def _split(self) -> tuple[list[_Placed], list[_Placed]]:
        """Records to train on, in random order if fewer are wanted than there are, and records to measure on."""
        rng = random.Random(self.seed)
        train = self._records(self.path, self.split)
        if self.limit is not None:
            rng.shuffle(train)
        if self._val_source is not None:
            val = self._records(*self._val_source)
            if self.val_examples is not None and self.val_examples > len(val):
                log.info("%s has %d validation examples, fewer than val_examples", self._val_source[0], len(val))
            return train, val if self.val_examples is None else rng.sample(val, min(self.val_examples, len(val)))
        if self.val_examples is None or self.val_examples >= len(train):
            raise ConfigError(
                f"task val_examples is {self.val_examples}, but {self.path} holds {len(train)} records. "
                "Hold out fewer, at least 1, or name a val_path or a val_split."
            )
        held_out = set(rng.sample(range(len(train)), self.val_examples))
        parts: tuple[list[_Placed], list[_Placed]] = ([], [])
        for number, record in enumerate(train):
            parts[number in held_out].append(record)
        return parts

    def _records(self, path: str, split: str) -> list[_Placed]:
        records: list[Any] = read_records(path, self.name, split)
        return [(f"{path}, record {number}", record) for number, record in enumerate(records)]

    def _items(self, records: Sequence[_Placed], malformed: MalformedRecords) -> list[tuple[str, Item]]:
        """What each record asks, with its place."""
        items = []
        for where, record in records:
            with malformed.within(where):
                items.append((where, self.item(Fields(record, where))))
        return items

    def _examples(
        self, tokenizer: PreTrainedTokenizerBase, items: Sequence[tuple[str, Item]], malformed: MalformedRecords
    ) -> tuple[list[Example], list[Text]]:
        """The records as examples and as texts; one whose output has no tokens counts as malformed."""
        examples, kept = [], []
        texts = [self._text(tokenizer, item) for _, item in items]
        for (where, _), text, encoded in zip(items, texts, encoded_texts(tokenizer, texts), strict=True):
            with malformed.within(where):
                examples.append(text_example(tokenizer, text, encoded, self.train_on_prompt, self.max_tokens))
                kept.append(text)
        return examples, kept

    def _text(self, tokenizer: PreTrainedTokenizerBase, item: Item) -> Text:
        prompt = self.prompt.render(tokenizer, item.instruction, item.input)
        return Text(prompt, item.output, item.answer, item.choices)


_Placed = tuple[str, Any]
"""Where a record stands, for messages, and the record."""
