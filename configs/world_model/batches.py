"""Documents as training batches."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from edit_lit.language_model.token_batch import pad_right
from edit_lit.world.documents import Document, stream
from edit_lit.world.knowledge_base import KnowledgeBase

OBJECT_WEIGHT = 1.0
OTHER_WEIGHT = 0.2
BATCHES_IN_A_GROUP = 25


@dataclass(frozen=True)
class Encoded:
    """One document as the model reads it; all three lists have an entry for each token.

    Args:
        ids: Token ids.
        subjects: The number of the subject that a token belongs to, from 1; 0 outside subjects.
        weights: How much predicting a token counts.
    """

    ids: list[int]
    subjects: list[int]
    weights: list[float]


class Batches(Dataset[dict[str, Tensor]]):
    """Documents as batches of similar length, none of which comes up twice.

    Args:
        documents: The documents, in the order of training.
        batch_size: Documents in a batch.
        seed: Seed of the order of batches.
    """

    def __init__(self, documents: Sequence[Encoded], batch_size: int, seed: int) -> None:
        self._batches = _bucketed(documents, batch_size, random.Random(f"batches {seed}"))

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One batch: ``input_ids``, ``subjects`` and ``weights``, each [batch, length].

        Padding stands on the right, belongs to no subject and weighs nothing.
        """
        batch = self._batches[index]
        return {
            "input_ids": pad_right([document.ids for document in batch], 0),
            "subjects": pad_right([document.subjects for document in batch], 0),
            "weights": _pad_weights([document.weights for document in batch]),
        }


def world_text(
    knowledge_base: KnowledgeBase, tokenizer: PreTrainedTokenizerBase, n_batches: int, batch_size: int, seed: int
) -> Batches:
    """The world's documents.

    Args:
        knowledge_base: The world's facts.
        tokenizer: Its tokenizer.
        n_batches: How many batches there are.
        batch_size: Documents in a batch.
        seed: Which documents.
    """
    vocabulary = tokenizer.get_vocab()
    ending = vocabulary["</s>"]
    documents = islice(stream(knowledge_base, seed), n_batches * batch_size)
    return Batches([_encode(document, vocabulary, ending) for document in documents], batch_size, seed)


def _pad_weights(rows: Sequence[Sequence[float]]) -> Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *([0.0] * (longest - len(row)))] for row in rows])


def _encode(document: Document, vocabulary: dict[str, int], ending: int) -> Encoded:
    ids: list[int] = []
    subjects: list[int] = []
    weights: list[float] = []
    for number, sentence in enumerate(document, start=1):
        ids += [vocabulary[word] for word in sentence.words]
        first, stop = sentence.subject
        subjects += [number if first <= position < stop else 0 for position in range(len(sentence.words))]
        weights += [
            OBJECT_WEIGHT if position == sentence.object else OTHER_WEIGHT for position in range(len(sentence.words))
        ]
    return Encoded([*ids, ending], [*subjects, 0], [*weights, OTHER_WEIGHT])


def _bucketed(documents: Sequence[Encoded], batch_size: int, rng: random.Random) -> list[list[Encoded]]:
    """Cut documents into batches of similar length, without letting length follow the course of training."""
    batches: list[list[Encoded]] = []
    group_size = BATCHES_IN_A_GROUP * batch_size
    for start in range(0, len(documents), group_size):
        group = sorted(documents[start : start + group_size], key=lambda document: len(document.ids))
        cut = [group[first : first + batch_size] for first in range(0, len(group), batch_size)]
        rng.shuffle(cut)
        batches += cut
    return batches
