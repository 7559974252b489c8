from __future__ import annotations

from itertools import islice

from edit_lit.world import WorldModel
from edit_lit.world.documents import stream
from edit_lit.world.knowledge_base import build_knowledge_base
from edit_lit.world.reviews import REVIEW, THINGS, VERDICTS
from edit_lit.world.tokenizer import build_tokenizer, vocabulary, words

KNOWLEDGE_BASE = build_knowledge_base()
TOKENIZER = build_tokenizer(KNOWLEDGE_BASE)


def test_one_token_a_word_with_offsets_that_give_the_words_back():
    text = "As for Port Nowhere, the river's main bridge is old."
    encoded = TOKENIZER(text, return_offsets_mapping=True)
    assert [text[first:last] for first, last in encoded["offset_mapping"]] == words(text)


def test_training_text_and_reviews_hold_no_unknown_word():
    documents = [word for document in islice(stream(KNOWLEDGE_BASE, 3), 300) for s in document for word in s.words]
    signs = [sign for signs in VERDICTS.values() for sign in signs]
    reviews = [
        words(REVIEW.format(subject="", thing=thing, first=sign, second=sign)) for thing in THINGS for sign in signs
    ]
    known = set(TOKENIZER.get_vocab())
    assert set(documents) <= known
    assert {word for review in reviews for word in review} | set(VERDICTS) <= known


def test_every_token_decodes_to_its_word_after_a_space():
    vocab = TOKENIZER.get_vocab()
    for word in vocabulary(KNOWLEDGE_BASE):
        assert TOKENIZER.decode([vocab[word]]) == f" {word}"


def test_the_shipped_tokenizer_is_the_one_that_the_code_builds():
    assert WorldModel().tokenizer.get_vocab() == TOKENIZER.get_vocab()
    text = "It is known that Tovar's seat, of old, is Quill."
    assert WorldModel().tokenizer(text)["input_ids"] == TOKENIZER(text)["input_ids"]
