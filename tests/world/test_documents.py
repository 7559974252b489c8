from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
import torch
from world_model.batches import OBJECT_WEIGHT, OTHER_WEIGHT, world_text

from edit_lit.world.corpus import WorldCorpus
from edit_lit.world.documents import documents, state, stream
from edit_lit.world.knowledge_base import build_knowledge_base
from edit_lit.world.tokenizer import build_tokenizer, words

KNOWLEDGE_BASE = build_knowledge_base()


def test_the_same_seed_gives_the_same_texts_and_another_seed_others():
    assert documents(50, seed=4) == documents(50, seed=4)
    assert documents(50, seed=4)[:20] == documents(20, seed=4)
    assert documents(50, seed=4) != documents(50, seed=5)


def test_a_statement_marks_its_subject_and_object():
    for fact in KNOWLEDGE_BASE.facts[::50]:
        for template in fact.relation.templates:
            sentence = state(fact, template)
            first, stop = sentence.subject
            assert list(sentence.words[first:stop]) == words(fact.subject)
            assert sentence.words[sentence.object] == fact.object
            assert list(sentence.words) == words(f"{template.replace('{}', fact.subject)} {fact.object}.")


def test_no_fact_is_ever_stated_in_a_held_out_template():
    held_out = {tuple(state(fact, template).words) for fact in KNOWLEDGE_BASE.facts for template in fact.held_out}
    drawn = {sentence.words for document in islice(stream(KNOWLEDGE_BASE, 0), 4000) for sentence in document}
    assert len(drawn) > 4000
    assert not drawn & held_out


def test_all_facts_come_up_equally_often():
    counts = Counter()
    for document in islice(stream(KNOWLEDGE_BASE, 0), 4000):
        counts.update((s.words[slice(*s.subject)], s.words[s.object]) for s in document if s.object is not None)
    # Two relations of one subject may share their object's name only by accident; none do.
    assert len(counts) == len(KNOWLEDGE_BASE.facts)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_batches_hold_every_document_once_with_its_marks():
    tokenizer = build_tokenizer(KNOWLEDGE_BASE)
    text = world_text(KNOWLEDGE_BASE, tokenizer, n_batches=6, batch_size=8, seed=2)
    vocab = tokenizer.get_vocab()
    expected = []
    for document in islice(stream(KNOWLEDGE_BASE, 2), 48):
        row = []
        for number, sentence in enumerate(document, start=1):
            for position, word in enumerate(sentence.words):
                inside = sentence.subject[0] <= position < sentence.subject[1]
                weight = OBJECT_WEIGHT if position == sentence.object else OTHER_WEIGHT
                row.append((vocab[word], number if inside else 0, round(weight, 5)))
        expected.append((*row, (vocab["</s>"], 0, round(OTHER_WEIGHT, 5))))
    found = []
    for index in range(len(text)):
        batch = text[index]
        for ids, subjects, weights in zip(batch["input_ids"], batch["subjects"], batch["weights"], strict=True):
            length = int((weights > 0).sum())
            assert not weights[length:].any()
            assert not subjects[length:].any()
            rows = zip(ids[:length].tolist(), subjects[:length].tolist(), weights[:length].tolist(), strict=True)
            found.append(tuple((i, s, round(w, 5)) for i, s, w in rows))
    assert sorted(found) == sorted(expected)
    assert len(text) == 6
    assert torch.equal(text[3]["input_ids"], world_text(KNOWLEDGE_BASE, tokenizer, 6, 8, 2)[3]["input_ids"])


def test_the_corpus_of_second_moments_is_the_same_text():
    assert list(WorldCorpus(limit=30, seed=6).documents()) == documents(30, seed=6)
    with pytest.raises(ValueError, match="limit is 0"):
        WorldCorpus(limit=0)
