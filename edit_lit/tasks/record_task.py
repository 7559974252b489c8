"""The base class of tasks made of records: holding out, filtering, wording, packing and scoring."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.records.fields import Fields
from edit_lit.records.readers import read_records
from edit_lit.tasks.data_set_task import DataSetTask
from edit_lit.tasks.edit_filter import edit_filter
from edit_lit.tasks.packing import check_packing, pack
from edit_lit.tasks.prompt_templates import Alpaca, PromptTemplate
from edit_lit.tasks.scorers import Scorer
from edit_lit.tasks.task import ExampleList
from edit_lit.tasks.text import Text, examples_of
from edit_lit.utilities.errors import ConfigError


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
            ConfigError: If a record is malformed, or nothing is left to train or to measure on.
        """
        train, val = self._split()
        items = [self.item(record) for record in train]
        filter_ = edit_filter(requests, self.exclude, self.only)
        if filter_ is not None:
            items = list(filter_.filter(items, Item.words))
        texts = [self._text(tokenizer, item) for item in items[: self.limit]]
        if not texts:
            why = filter_.report() if filter_ is not None else f"val_examples is {self.val_examples}"
            raise ConfigError(f"{self.path} leaves nothing to train on: {why}. Loosen that, or name another file.")
        examples = examples_of(tokenizer, texts, self.train_on_prompt, self.max_tokens)
        self._train = ExampleList(examples if self.pack_tokens is None else list(pack(examples, self.pack_tokens)))
        self._val_texts = [self._text(tokenizer, self.item(record)) for record in val]
        self._val = ExampleList(examples_of(tokenizer, self._val_texts, self.train_on_prompt, self.max_tokens))

    def check(self, language_model: LanguageModel) -> None:
        """Refuse a model that reads across packed examples."""
        if self.pack_tokens is not None:
            check_packing(language_model, "task pack_tokens")

    def score(self, language_model: LanguageModel) -> dict[str, float]:
        """The scorers' numbers on the validation part."""
        scores: dict[str, float] = {}
        for scorer in self.scorers:
            scores |= scorer.score(language_model, self._val_texts)
        return scores

    def _split(self) -> tuple[list[Fields], list[Fields]]:
        """Records to train on, in random order if fewer are wanted than there are, and records to measure on."""
        rng = random.Random(self.seed)
        train = self._records(self.path, self.split)
        if self.limit is not None:
            rng.shuffle(train)
        if self._val_source is not None:
            val = self._records(*self._val_source)
            return train, val if self.val_examples is None else rng.sample(val, min(self.val_examples, len(val)))
        if self.val_examples is None or not 0 < self.val_examples < len(train):
            raise ConfigError(
                f"task val_examples is {self.val_examples}, but {self.path} holds {len(train)} records. "
                "Hold out fewer, at least 1, or name a val_path or a val_split."
            )
        held_out = set(rng.sample(range(len(train)), self.val_examples))
        parts: tuple[list[Fields], list[Fields]] = ([], [])
        for number, record in enumerate(train):
            parts[number in held_out].append(record)
        return parts

    def _records(self, path: str, split: str) -> list[Fields]:
        records: list[Any] = read_records(path, self.name, split)
        return [Fields(record, f"{path}, record {number}") for number, record in enumerate(records)]

    def _text(self, tokenizer: PreTrainedTokenizerBase, item: Item) -> Text:
        prompt = self.prompt.render(tokenizer, item.instruction, item.input)
        return Text(prompt, item.output, item.answer, item.choices)
