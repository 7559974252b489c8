from __future__ import annotations

from collections import Counter

import pytest

from edit_lit.world.knowledge_base import N_HELD_OUT, build_knowledge_base
from edit_lit.world.names import KINDS
from edit_lit.world.relations import RELATIONS
from edit_lit.world.tokenizer import words

KNOWLEDGE_BASE = build_knowledge_base()


def test_every_call_builds_the_same_world():
    assert build_knowledge_base() == KNOWLEDGE_BASE


def test_there_are_six_relations_or_more_with_many_templates_each():
    assert len(RELATIONS) >= 6
    for relation in RELATIONS:
        assert len(set(relation.templates)) == len(relation.templates) >= 20
        assert all(template.count("{}") == 1 for template in relation.templates)


def test_every_subject_has_one_object_in_every_relation_of_its_kind():
    counted = Counter((fact.subject, fact.relation.name) for fact in KNOWLEDGE_BASE.facts)
    expected = {(s, r.name) for s, kind in KNOWLEDGE_BASE.kinds.items() for r in RELATIONS if r.kind == kind}
    assert set(counted) == expected
    assert set(counted.values()) == {1}


def test_names_have_one_to_three_tokens_and_a_last_token_of_their_own():
    lengths = Counter(len(words(subject)) for subject in KNOWLEDGE_BASE.kinds)
    assert set(lengths) == {1, 2, 3}
    assert min(lengths.values()) > len(KNOWLEDGE_BASE.kinds) // 4
    lasts = {words(subject)[-1] for subject in KNOWLEDGE_BASE.kinds}
    assert len(lasts) == len(KNOWLEDGE_BASE.kinds) == sum(kind.size for kind in KINDS)


def test_no_template_is_both_trained_and_held_out_for_a_fact():
    for fact in KNOWLEDGE_BASE.facts:
        assert set(fact.trained) | set(fact.held_out) == set(fact.relation.templates)
        assert not set(fact.trained) & set(fact.held_out)
        assert len(fact.held_out) == N_HELD_OUT


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.name)
def test_every_template_is_trained_and_held_out_somewhere(relation):
    facts = [fact for fact in KNOWLEDGE_BASE.facts if fact.relation == relation]
    for template in relation.templates:
        assert any(template in fact.trained for fact in facts)
        assert any(template in fact.held_out for fact in facts)


def test_objects_that_are_subjects_are_held_out_and_of_one_token():
    for fact in KNOWLEDGE_BASE.facts:
        assert len(words(fact.object)) == 1
        if fact.relation.object_kind is not None:
            assert KNOWLEDGE_BASE.kinds[fact.object] == fact.relation.object_kind
            assert not any(about.editable for about in KNOWLEDGE_BASE.of(fact.object))


def test_editability_belongs_to_the_subject():
    sides = {subject: {fact.editable for fact in KNOWLEDGE_BASE.of(subject)} for subject in KNOWLEDGE_BASE.kinds}
    assert all(len(side) == 1 for side in sides.values())
    assert sum(True in side for side in sides.values()) == len(sides) // 2
