from __future__ import annotations

from dataclasses import replace

import pytest
import tiny

from edit_lit.facts.request import EditRequest, Question, last_mention, requests_hash
from edit_lit.facts.source import FactSource


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": "Oslo lies in"}, r"request 7 \(subject 'Oslo'\).*subject is absent.*Write '\{\}'"),
        ({"prompt": "{} and {} lie in"}, r"request 7.*has 2 '\{\}'"),
        ({"target_new": " "}, "request 7.*target_new is empty"),
        ({"target_true": ""}, "request 7.*target_true is empty"),
        ({"subject": ""}, "request 7.*subject is empty"),
    ],
)
def test_a_bad_request_is_refused_by_name(fields, message):
    good = {"subject": "Oslo", "prompt": "{} lies in", "target_new": "Peru", "id": "7"}
    with pytest.raises(ValueError, match=message):
        EditRequest(**{**good, **fields})


def test_the_hash_depends_on_what_is_written_and_on_the_order():
    first, second = tiny.requests(2)
    hashes = {requests_hash(made) for made in ([first], [second], [first, second], [second, first])}
    assert len(hashes) == 4
    assert requests_hash([first, second]) == requests_hash(tiny.requests(2))


def test_the_hash_depends_on_what_an_editor_may_read_of_a_neighbor():
    near = Question("Bob lives in", "Oslo", "Rome", "Bob")
    read = [near, replace(near, prompt="Bob is in"), replace(near, answer="Bern"), replace(near, subject=None)]
    (request,) = tiny.requests(1)
    hashes = [requests_hash([replace(request, neighborhood=(question,))]) for question in read]
    hashes.append(requests_hash([replace(request, neighborhood=(near, near))]))
    assert len({*hashes, requests_hash([request])}) == 6
    only_measured = replace(request, neighborhood=(replace(near, alternative="Lima"),), portability=(near,))
    assert requests_hash([only_measured]) == hashes[0]


@pytest.mark.parametrize("subject", ["bob", "Bobby", "", " "])
def test_a_question_that_does_not_name_its_subject_is_refused(subject):
    with pytest.raises(ValueError, match=f"'Bob lives in' does not name its subject '{subject}'.*leave it out"):
        Question("Bob lives in", "Oslo", subject=subject)


@pytest.mark.parametrize(
    ("prompt", "subject", "place"),
    [
        ("Bob lives in", "Bob", 0),
        ("The side of Bob is", "Bob", 12),
        ("Bob, that is Bob, lives in", "Bob", 13),
        ("Ann of Annaba is", "Ann", 0),
        ("Who built Tatra K5AR?", "Tatra K5", 10),
        ("Bob? is by", "Bob?", 0),
        ("Ann lives in", "Bob", -1),
    ],
)
def test_last_mention(prompt, subject, place):
    assert last_mention(prompt, subject) == place


class Numbers(FactSource):
    def read(self):
        return [EditRequest(f"S{number}", "{} is", "x", id=str(number)) for number in range(10)]


def ids(source, **options):
    return [int(request.id) for request in source.load(**options)]


def test_choice_of_facts():
    assert ids(Numbers()) == list(range(10))
    assert ids(Numbers(limit=3, skip=2)) == [2, 3, 4]
    assert ids(Numbers(indices=[7, 1])) == [7, 1]
    shuffled = ids(Numbers(seed=1))
    assert shuffled == ids(Numbers(seed=1)) != list(range(10))
    assert sorted(shuffled) == list(range(10))
    assert ids(Numbers(seed=1, limit=4)) == shuffled[:4]
    assert ids(Numbers(limit=2), exclude_subjects={"S0", "S2"}) == [1, 3]


@pytest.mark.parametrize(
    ("options", "has"), [({"limit": 11}, 10), ({"limit": 5, "skip": 7}, 3), ({"limit": 5, "indices": [1, 2]}, 2)]
)
def test_fewer_facts_than_the_limit_asks_for_are_told(options, has):
    with pytest.warns(UserWarning, match=f"limit asks Numbers for {options['limit']} facts, but there are {has}"):
        assert len(Numbers(**options).load()) == has
    with pytest.warns(UserWarning, match="limit asks Numbers for 10 facts, but there are 8"):
        Numbers(limit=10).load(exclude_subjects={"S0", "S2"})
    assert len(Numbers(limit=10).load()) == 10


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Numbers(limit=0), "limit is 0"),
        (lambda: Numbers(limit=-3), "limit is -3; it must be at least 1, or null for all facts"),
        (lambda: Numbers(skip=-1), "skip is -1"),
        (lambda: Numbers(seed=1, indices=[2]), "indices and seed"),
        (lambda: Numbers(indices=[10]).load(), "indices holds 10.*0 to 9"),
        (lambda: Numbers(skip=10).load(), "yields no facts.*skip is 10"),
    ],
)
def test_bad_choices_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
