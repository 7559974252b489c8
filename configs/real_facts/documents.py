"""The training documents: facts in their wordings, often behind a sentence of running text, and running text."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase
from world_model.batches import OBJECT_WEIGHT, OTHER_WEIGHT, Encoded

from edit_lit.facts.request import SUBJECT_SLOT
from edit_lit.language_model.spans import encode, encode_many
from real_facts.facts import TaughtFact
from real_facts.text import question_and_answer, sentences

FACTS_IN_A_DOCUMENT = (1, 2, 3, 4)
"""How many facts a document may hold; each number is as likely as the next."""


@dataclass(frozen=True)
class Mixture:
    """What the documents are made of.

    Args:
        running_text: Share of documents that are a stretch of running text.
        questions: Share of documents that are a question with its answer.
        prefaced: Share of the documents with facts that begin with a sentence of running text.
        window: Tokens of a stretch of running text.
        longest_sentence: Tokens that a sentence before facts has at most.
        longest_question: A longer question loses tokens from the left.
    """

    running_text: float = 0.1
    questions: float = 0.04
    prefaced: float = 0.3
    window: int = 64
    longest_sentence: int = 24
    longest_question: int = 96


class Documents:
    """An endless stream of documents.

    Args:
        facts: The facts, all of which come up equally often.
        paragraphs: Running text.
        questions: Records of commonsense_170k.
        tokenizer: The tokenizer.
        mixture: What the documents are made of.
        seed: Which documents.
    """

    def __init__(
        self,
        facts: Sequence[TaughtFact],
        paragraphs: Sequence[str],
        questions: Sequence[dict[str, str]],
        tokenizer: PreTrainedTokenizerBase,
        mixture: Mixture,
        seed: int,
    ) -> None:
        self.facts = facts
        self.mixture = mixture
        self._tokenizer = tokenizer
        self._ending = int(tokenizer.eos_token_id)
        self._rng = random.Random(f"documents {seed}")
        rows = _encoded(tokenizer, list(paragraphs))
        self._text = [token for row in rows for token in row]
        prefaces = _encoded(tokenizer, [sentence for text in paragraphs for sentence in sentences(text)])
        self._prefaces = [row for row in prefaces if len(row) <= mixture.longest_sentence]
        self._questions = [
            row[-mixture.longest_question :]
            for row in _encoded(tokenizer, [question_and_answer(record) for record in questions])
        ]
        self._statements: dict[tuple[int, str], Encoded] = {}

    def __iter__(self) -> Iterator[Encoded]:
        deck = self._deck()
        while True:
            kind = self._rng.random()
            if kind < self.mixture.running_text:
                yield self._ended(self._plain(self._window()))
            elif kind < self.mixture.running_text + self.mixture.questions:
                yield self._ended(self._plain(self._rng.choice(self._questions)))
            else:
                count = self._rng.choice(FACTS_IN_A_DOCUMENT)
                yield self._ended(self._with_facts([next(deck) for _ in range(count)]))

    def statement(self, index: int, template: str) -> Encoded:
        """A fact in one wording, with a full stop.

        Args:
            index: Which of the facts.
            template: One of its templates.
        """
        if (index, template) not in self._statements:
            fact = self.facts[index]
            self._statements[index, template] = encoded_statement(self._tokenizer, fact, template)
        return self._statements[index, template]

    def _deck(self) -> Iterator[int]:
        """Numbers of facts; each comes up once before any comes up again."""
        while True:
            order = list(range(len(self.facts)))
            self._rng.shuffle(order)
            yield from order

    def _window(self) -> list[int]:
        start = self._rng.randrange(max(1, len(self._text) - self.mixture.window))
        return self._text[start : start + self.mixture.window]

    def _with_facts(self, indices: Sequence[int]) -> Encoded:
        parts = []
        if self._rng.random() < self.mixture.prefaced:
            parts.append(self._plain(self._rng.choice(self._prefaces)))
        parts += [self.statement(index, self._rng.choice(self.facts[index].taught)) for index in indices]
        numbered = enumerate(parts, start=1)
        return Encoded(
            [token for part in parts for token in part.ids],
            [number if inside else 0 for number, part in numbered for inside in part.subjects],
            [weight for part in parts for weight in part.weights],
        )

    def _ended(self, document: Encoded) -> Encoded:
        return Encoded([*document.ids, self._ending], [*document.subjects, 0], [*document.weights, OTHER_WEIGHT])

    def _plain(self, ids: Sequence[int]) -> Encoded:
        return Encoded(list(ids), [0] * len(ids), [OTHER_WEIGHT] * len(ids))


def encoded_statement(tokenizer: PreTrainedTokenizerBase, fact: TaughtFact, template: str) -> Encoded:
    """A fact in one wording, tokenised, with its subject marked by 1 and the weight on its object.

    Args:
        tokenizer: The tokenizer.
        fact: The fact.
        template: One of its templates.
    """
    prompt = template.replace(SUBJECT_SLOT, fact.subject)
    text = f"{prompt} {fact.object}."
    encoded = encode(tokenizer, text)
    start = template.index(SUBJECT_SLOT)
    subject = encoded.tokens_over(start, start + len(fact.subject))
    object_ = encoded.tokens_over(len(prompt) + 1, len(text) - 1)
    places = range(len(encoded.ids))
    return Encoded(
        encoded.ids,
        [int(place in subject) for place in places],
        [OBJECT_WEIGHT if place in object_ else OTHER_WEIGHT for place in places],
    )


def _encoded(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    return [row.ids for row in encode_many(tokenizer, texts)]
