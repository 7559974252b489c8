"""The embedded world's downstream task: tell what a short review concludes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import permutations

from transformers import PreTrainedTokenizerBase

from edit_lit.facts.request import EditRequest, subjects_of
from edit_lit.language_model.spans import encode, joined
from edit_lit.tasks.task import Example, ExampleList, ExampleSet, Task
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError
from edit_lit.world.knowledge_base import build_knowledge_base
from edit_lit.world.reviews import REVIEW, THINGS, VERDICTS

N_HELD_OUT_PAIRS = 8


class WorldReviews(Task):
    """Short reviews of the world's subjects, each with its verdict: positive, negative or neutral.

    A review praises or blames in two words. 22 ordered pairs of words per verdict are trained on; the other 8
    are what the accuracy is measured on, so that a model must learn what the words mean and cannot learn the
    reviews by heart. Reviews name subjects of the world, but none that the requests edit. The loss is on all tokens.

    Args:
        n_train: How many reviews to learn from.
        n_val: How many reviews to measure on.
        seed: Which word pairs are held out, and which subjects the reviews name.
    """

    def __init__(self, n_train: int = 6400, n_val: int = 240, seed: int = 0) -> None:
        for option, value in (("n_train", n_train), ("n_val", n_val)):
            check_number(option, value, least=1)
        self.n_train = n_train
        self.n_val = n_val
        self.seed = seed
        self._train: list[Example] = []
        self._val: list[Example] = []

    def setup(self, tokenizer: PreTrainedTokenizerBase, requests: Sequence[EditRequest]) -> None:
        """Write the reviews, about subjects that no request edits.

        Raises:
            ConfigError: If the requests edit every subject of the world.
        """
        edited = subjects_of(requests)
        subjects = [subject for subject in build_knowledge_base().kinds if subject not in edited]
        if not subjects:
            raise ConfigError("the requests edit every subject of the world, so reviews have none to name. Edit fewer.")
        rng = random.Random(f"reviews {self.seed}")
        trained, held_out = _split_pairs(rng)
        self._train = _examples(tokenizer, _reviews(trained, subjects, self.n_train, rng))
        self._val = _examples(tokenizer, _reviews(held_out, subjects, self.n_val, rng))

    def train_dataset(self) -> ExampleSet:
        """Reviews with trained word pairs."""
        return ExampleList(self._train)

    def val_dataset(self) -> ExampleSet:
        """Reviews with held-out word pairs."""
        return ExampleList(self._val)


WordPair = tuple[str, str, str]
"""A verdict and the two words that speak for it."""


def _split_pairs(rng: random.Random) -> tuple[list[WordPair], list[WordPair]]:
    """Ordered pairs of words to train on and to hold out, the same number for each verdict."""
    trained: list[WordPair] = []
    held_out: list[WordPair] = []
    for verdict, signs in VERDICTS.items():
        pairs = [(verdict, first, second) for first, second in permutations(signs, 2)]
        rng.shuffle(pairs)
        held_out += pairs[:N_HELD_OUT_PAIRS]
        trained += pairs[N_HELD_OUT_PAIRS:]
    return trained, held_out


def _reviews(pairs: list[WordPair], subjects: list[str], n: int, rng: random.Random) -> list[tuple[str, str]]:
    """``n`` reviews with their verdicts, in which all word pairs come up equally often."""
    drawn: list[tuple[str, str]] = []
    while len(drawn) < n:
        for verdict, first, second in rng.sample(pairs, len(pairs)):
            text = REVIEW.format(subject=rng.choice(subjects), thing=rng.choice(THINGS), first=first, second=second)
            drawn.append((text, verdict))
    return drawn[:n]


def _examples(tokenizer: PreTrainedTokenizerBase, reviews: list[tuple[str, str]]) -> list[Example]:
    return [_example(tokenizer, text, verdict) for text, verdict in reviews]


def _example(tokenizer: PreTrainedTokenizerBase, text: str, verdict: str) -> Example:
    whole = joined(text, verdict)
    encoded = encode(tokenizer, whole)
    answer = encoded.tokens_over(len(whole) - len(verdict), len(whole))
    mask = [position in answer for position in range(len(encoded.ids))]
    return Example(input_ids=encoded.ids, labels=list(encoded.ids), answer_mask=mask)
