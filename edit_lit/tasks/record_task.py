"""What all tasks made of records share: reading, wording, holding out, scrubbing, packing and scoring."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from edit_lit.errors import ConfigError
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.records.fields import Fields
from edit_lit.records.readers import check_path, read_records
from edit_lit.tasks.edit_filter import check_options, edit_filter
from edit_lit.tasks.packing import check_packing, pack
from edit_lit.tasks.prompt_templates import Alpaca, Prompt
from edit_lit.tasks.scorers import Scorer
from edit_lit.tasks.task import Example, ExampleList, ExampleSet, Task
from edit_lit.tasks.text import Text, example_of


@dataclass(frozen=True)
class Item:
    """What a record asks, before it is worded.

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


class RecordTask(Task):
    """Records with something asked and something to write; a subclass says what of a record is which.

    Args:
        path: A local file, a URL such as ``hf://datasets/owner/name/file.json``, or a data set on the hub.
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
        check_path(path, "task path")
        check_path(val_path or path, "task val_path")
        check_options(exclude, only)
        if pack_tokens is not None and pack_tokens < max_tokens:
            raise ConfigError(f"task pack_tokens is {pack_tokens}, below max_tokens {max_tokens}. Raise it.")
        self.path, self.val_path = path, val_path
        self.val_examples = val_examples
        self.prompt = prompt
        self.train_on_prompt = train_on_prompt
        self.max_tokens = max_tokens
        self.pack_tokens = pack_tokens
        self.exclude: Literal["edits"] | None = exclude
        self.only: Literal["edits"] | None = only
        self.scorers = scorers
        self.limit = limit
        self.seed = seed
        self.name, self.split, self.val_split = name, split, val_split
        self._train: list[Example] = []
        self._val: list[Example] = []
        self._val_texts: list[Text] = []

    @abstractmethod
    def item(self, record: Fields) -> Item:
        """What a record asks.

        Raises:
            ConfigError: If the record is malformed.
        """

    def setup(self, tokenizer: PreTrainedTokenizerBase, requests: Sequence[EditRequest]) -> None:
        """Read, split, scrub, word and tokenise.

        Only the training part is scrubbed, so that all arms of a study are measured on the same examples.

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
        examples = [self._example(tokenizer, text, self.train_on_prompt) for text in texts]
        self._train = examples if self.pack_tokens is None else list(pack(examples, self.pack_tokens))
        self._val_texts = [self._text(tokenizer, self.item(record)) for record in val]
        self._val = [self._example(tokenizer, text, self.train_on_prompt) for text in self._val_texts]

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

    def train_dataset(self) -> ExampleSet:
        """The records to learn from."""
        return ExampleList(self._train)

    def val_dataset(self) -> ExampleSet:
        """The records to measure on."""
        return ExampleList(self._val)

    def _split(self) -> tuple[list[Fields], list[Fields]]:
        """Records to train on, in random order if fewer are wanted than there are, and records to measure on."""
        rng = random.Random(self.seed)
        train = self._records(self.path, self.split)
        if self.limit is not None:
            rng.shuffle(train)
        if self.val_path is not None or self.val_split is not None:
            val = self._records(self.val_path or self.path, self.val_split or self.split)
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

    def _example(self, tokenizer: PreTrainedTokenizerBase, text: Text, train_on_prompt: bool) -> Example:
        return example_of(tokenizer, text, train_on_prompt, self.max_tokens)
