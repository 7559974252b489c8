"""The base class of downstream tasks, their examples and how examples become a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NotRequired, TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset
from transformers import PreTrainedTokenizerBase

from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.limits import check_lengths
from edit_lit.language_model.token_batch import pad_right

IGNORED = -100


class Example(TypedDict):
    """One tokenised training text.

    ``input_ids`` are its tokens; ``labels`` repeats them, with -100 where no loss is taken;
    ``answer_mask`` is true on the tokens whose exact prediction makes the example count as correct,
    and false everywhere if the task has no accuracy. ``position_ids`` start at 0 with every text of a row that holds
    several.
    """

    input_ids: list[int]
    labels: list[int]
    answer_mask: list[bool]
    position_ids: NotRequired[list[int]]


class ExampleSet(Dataset[Example]):
    """Examples of known number."""

    @abstractmethod
    def __len__(self) -> int: ...

    def lengths(self) -> list[int]:
        """Tokens of each example."""
        return [len(self[index]["input_ids"]) for index in range(len(self))]

    def spans(self) -> list[int]:
        """Positions that each example takes: those of its longest text, where a row holds several."""
        examples = (self[index] for index in range(len(self)))
        return [max(row.get("position_ids") or range(len(row["input_ids"])), default=-1) + 1 for row in examples]


class ExampleList(ExampleSet):
    """Examples that fit into memory.

    Args:
        examples: The examples, in order.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]


class Task(ABC):
    """A downstream task: training texts, validation texts and how they become batches."""

    @abstractmethod
    def setup(self, tokenizer: PreTrainedTokenizerBase, requests: Sequence[EditRequest]) -> None:
        """Prepare both parts.

        Args:
            tokenizer: The model's tokenizer.
            requests: The facts under study, for tasks that keep clear of them or seek them out.

        Raises:
            ConfigError: If the data cannot be read or nothing is left of it.
        """

    def check(self, language_model: LanguageModel) -> None:
        """Refuse a model that this task's batches do not suit; called once, after :meth:`setup`.

        Raises:
            ConfigError: If the model has too few positions for an example; a task may find more.
        """
        for part, dataset in (("training", self.train_dataset()), ("validation", self.val_dataset())):
            if isinstance(dataset, ExampleSet):
                check_lengths(
                    language_model,
                    dataset.spans(),
                    lambda longest, part=part: f"the task's {part} example {longest}",  # type: ignore[misc]
                    "Shorten the task's examples",
                )

    def score(self, language_model: LanguageModel) -> dict[str, float]:
        """Scores on the validation part beside loss, perplexity and the accuracy by ``answer_mask``.

        All processes call it together and get the same numbers; the model is in evaluation mode.

        Returns:
            Numbers by name; ``exact_match`` is logged as ``downstream/val_exact_match``. None unless a task adds some.
        """
        return {}

    @abstractmethod
    def train_dataset(self) -> ExampleSet | IterableDataset[Example]:
        """The texts to learn from; of unknown number if they are read as they are needed."""

    @abstractmethod
    def val_dataset(self) -> ExampleSet:
        """The texts to measure on; none of them is trained on."""

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Pad examples on the right into one batch.

        Returns:
            ``input_ids``, ``attention_mask``, ``labels`` and ``answer_mask``, each [batch, length], and
            ``position_ids`` if rows hold several texts. Padding has attention 0, position 0 and label -100, so that the
            id used for it does not matter.
        """
        ids = [example["input_ids"] for example in examples]
        packed = {}
        if any("position_ids" in example for example in examples):
            positions = [example.get("position_ids") or range(len(example["input_ids"])) for example in examples]
            packed["position_ids"] = pad_right(positions, 0)
        return packed | {
            "input_ids": pad_right(ids, 0),
            "attention_mask": pad_right([[1] * len(row) for row in ids], 0),
            "labels": pad_right([example["labels"] for example in examples], IGNORED),
            "answer_mask": pad_right([example["answer_mask"] for example in examples], False, torch.bool),
        }
