"""What a model is fine-tuned on, beside the edits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from edit_lit.batching import pad_right
from edit_lit.facts.request import EditRequest

IGNORED = -100


class Example(TypedDict):
    """One tokenised training text.

    ``input_ids`` are its tokens; ``labels`` repeats them, with -100 where no loss is taken;
    ``answer_mask`` is true on the tokens whose exact prediction makes the example count as correct,
    and false everywhere if the task has no accuracy.
    """

    input_ids: list[int]
    labels: list[int]
    answer_mask: list[bool]


class ExampleSet(Dataset[Example]):
    """Examples of known number."""

    @abstractmethod
    def __len__(self) -> int: ...


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
            ValueError: If the data cannot be read or nothing is left of it.
        """

    @abstractmethod
    def train_dataset(self) -> ExampleSet:
        """The texts to learn from."""

    @abstractmethod
    def val_dataset(self) -> ExampleSet:
        """The texts to measure on; none of them is trained on."""

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Pad examples on the right into one batch.

        Returns:
            ``input_ids``, ``attention_mask``, ``labels`` and ``answer_mask``, each [batch, length]. Padding
            has attention 0 and label -100, so that the id used for it does not matter.
        """
        ids = [example["input_ids"] for example in examples]
        return {
            "input_ids": pad_right(ids, 0),
            "attention_mask": pad_right([[1] * len(row) for row in ids], 0),
            "labels": pad_right([example["labels"] for example in examples], IGNORED),
            "answer_mask": pad_right([example["answer_mask"] for example in examples], False, torch.bool),
        }
