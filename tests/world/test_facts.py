from __future__ import annotations

import pytest

from edit_lit.facts.request import subjects_of
from edit_lit.world.facts import N_NEIGHBORS, N_PARAPHRASES, World
from edit_lit.world.knowledge_base import build_knowledge_base
from edit_lit.world.sentences import FILLERS

KNOWLEDGE_BASE = build_knowledge_base()
FACTS = {(fact.subject, fact.relation.name): fact for fact in KNOWLEDGE_BASE.facts}
REQUESTS = World().read()
N_SUBJECTS = len(subjects_of(REQUESTS))


def objects_of(relation: str) -> set[str]:
    return {fact.object for fact in KNOWLEDGE_BASE.facts if fact.relation.name == relation}


def filled(templates, subject: str) -> set[str]:
    return {template.replace("{}", subject) for template in templates}


def test_there_are_enough_facts_about_different_subjects():
    assert len(REQUESTS) == sum(fact.editable for fact in KNOWLEDGE_BASE.facts)
    assert N_SUBJECTS >= 200
    assert len({request.id for request in REQUESTS}) == len(REQUESTS)


def test_every_reading_is_the_same():
    assert World().read() == REQUESTS
    assert World(seed=7).load() == World(seed=7).load()


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_the_first_facts_are_about_different_subjects(seed):
    requests = World(seed=seed, limit=N_SUBJECTS).load()
    assert len(subjects_of(requests)) == N_SUBJECTS


def test_a_seed_changes_which_facts_are_chosen_and_nothing_about_a_fact():
    chosen = [World(seed=seed, limit=50).load() for seed in range(3)]
    assert len({tuple(request.id for request in requests) for requests in chosen}) == 3
    by_id = {request.id: request for request in REQUESTS}
    assert all(request == by_id[request.id] for requests in chosen for request in requests)


def test_excluded_subjects_leave_a_prefix_of_different_subjects():
    edited = World(seed=0, limit=50).load()
    others = World(seed=1, limit=N_SUBJECTS - 50).load(exclude_subjects=subjects_of(edited))
    assert len(subjects_of(others)) == N_SUBJECTS - 50
    assert not subjects_of(others) & subjects_of(edited)


def test_prompts_are_trained_and_paraphrases_are_not():
    for request in REQUESTS:
        fact = FACTS[request.subject, request.relation]
        assert request.prompt in fact.trained
        assert request.target_true == fact.object
        assert request.target_new in objects_of(request.relation) - {fact.object}
        assert len(request.paraphrases) == N_PARAPHRASES
        prefixed = [p for p in request.paraphrases if p not in filled(fact.held_out, request.subject)]
        assert len(prefixed) == 1
        filler = next(filler for filler in FILLERS if prefixed[0].startswith(filler))
        assert prefixed[0].removeprefix(f"{filler} ") in filled(fact.held_out, request.subject)


def test_neighbours_share_relation_and_object_and_cannot_be_edited():
    editable = subjects_of(REQUESTS)
    asked = {}
    for fact in KNOWLEDGE_BASE.facts:
        for prompt in filled(fact.trained, fact.subject):
            asked[prompt] = fact
    for request in REQUESTS:
        neighbors = [asked[question.prompt] for question in request.neighborhood]
        assert len({neighbor.subject for neighbor in neighbors}) == N_NEIGHBORS
        for neighbor, question in zip(neighbors, request.neighborhood, strict=True):
            assert (neighbor.relation.name, neighbor.object) == (request.relation, request.target_true)
            assert (question.answer, question.alternative) == (request.target_true, request.target_new)
            assert question.subject == neighbor.subject
            assert neighbor.subject not in editable


def test_two_hop_questions_follow_from_the_new_object():
    asked = [(request, question) for request in REQUESTS for question in request.portability]
    assert len(asked) > 300
    for request, question in asked:
        first = FACTS[request.subject, request.relation].relation
        hops = [(KNOWLEDGE_BASE.of(target), question.prompt) for target in (request.target_new, request.target_true)]
        answers = []
        for facts, prompt in hops:
            seconds = [
                fact
                for fact in facts
                if prompt == f"The {fact.relation.nouns[0]} of the {first.nouns[0]} of {request.subject} is"
            ]
            assert len(seconds) == 1
            answers.append(seconds[0].object)
        assert [question.answer, question.alternative] == answers
        assert question.answer != question.alternative
