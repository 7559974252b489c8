"""Random documents that state the world's facts: the text that its model is trained on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edit_lit.world.knowledge_base import Fact, KnowledgeBase, build_knowledge_base
from edit_lit.world.reviews import REVIEW_WORDS
from edit_lit.world.sentences import FILLERS, MENTION
from edit_lit.world.tokenizer import words

FILLER_SHARE = 0.10
KIND_SHARE = 0.04
WORD_SHARE = 0.04
SENTENCES = (1, 1, 2, 3)
"""How many sentences a document has; each entry is as likely as the next."""


@dataclass(frozen=True)
class Sentence:
    """One sentence as words, with what it is about.

    Args:
        words: The words, one token each.
        subject: First word of the subject and the word after its last; both 0 if there is no subject.
        object: The word that states the fact; none if the sentence states no fact.
    """

    words: tuple[str, ...]
    subject: tuple[int, int] = (0, 0)
    object: int | None = None


Document = tuple[Sentence, ...]


def _about(subject: str, template: str, object_: str | None) -> Sentence:
    before, after = (words(part) for part in template.split("{}"))
    name = words(subject)
    statement = [*before, *name, *after]
    ending = [] if object_ is None else [object_]
    span = (len(before), len(before) + len(name))
    return Sentence((*statement, *ending, "."), span, None if object_ is None else len(statement))


def state(fact: Fact, template: str) -> Sentence:
    """A sentence that states a fact in the words of a template."""
    return _about(fact.subject, template, fact.object)


class _CyclingSampler:
    """Facts in random order, each once before any comes up again."""

    def __init__(self, facts: Sequence[Fact], rng: random.Random) -> None:
        self._facts = facts
        self._rng = rng
        self._left: list[Fact] = []

    def draw(self) -> Fact:
        if not self._left:
            self._left = list(self._facts)
            self._rng.shuffle(self._left)
        return self._left.pop()


def stream(knowledge_base: KnowledgeBase, seed: int) -> Iterator[Document]:
    """Draw documents without end.

    Every document has one to three sentences: a filler, a sentence that names a subject's kind, a mention
    of a word, or a fact in one of the templates in which it may be trained. All facts come up equally often.
    """
    rng = random.Random(f"corpus {seed}")
    facts = _CyclingSampler(knowledge_base.facts, rng)
    subjects = list(knowledge_base.kinds)

    def sentence() -> Sentence:
        choice = rng.random()
        if choice < FILLER_SHARE:
            return Sentence(tuple(words(rng.choice(FILLERS))))
        if choice < FILLER_SHARE + KIND_SHARE:
            subject = rng.choice(subjects)
            return _about(subject, f"{{}} is a {knowledge_base.kinds[subject]}", None)
        if choice < FILLER_SHARE + KIND_SHARE + WORD_SHARE:
            return Sentence(tuple(words(MENTION.format(word=rng.choice(REVIEW_WORDS)))))
        fact = facts.draw()
        return state(fact, rng.choice(fact.trained))

    while True:
        yield tuple(sentence() for _ in range(rng.choice(SENTENCES)))


def documents(n: int, seed: int = 0) -> list[str]:
    """Draw texts like those the world's model was trained on.

    Args:
        n: How many.
        seed: Which ones. The same seed gives the same texts.
    """
    drawn = zip(range(n), stream(build_knowledge_base(), seed), strict=False)
    return [" ".join(word for sentence in document for word in sentence.words) for _, document in drawn]
