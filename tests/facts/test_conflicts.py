from __future__ import annotations

from edit_lit.facts.conflicts import find_conflicts, warn_of_conflicts
from edit_lit.facts.request import EditRequest


def fact(id_: str, subject: str, prompt: str, new: str, relation: str | None = None, true: str | None = None):
    return EditRequest(subject, prompt, new, true, id=id_, relation=relation)


REQUESTS = [
    fact("0", "Ann", "{} lives in", "Rome", "home"),
    fact("1", "Ann", "The home of {} is", "Oslo", "home"),
    fact("2", "ann ", "{} lives in", "rome"),
    fact("3", "Bob", "{} lives in", "Oslo", "home"),
    fact("4", "Bob", "{} speaks", "Thai", "tongue", true="thai"),
]


def test_every_kind_is_found():
    found = find_conflicts(REQUESTS)
    assert [(first.id, second.id) for first, second in found.conflicting] == [("0", "1")]
    assert [(first.id, second.id) for first, second in found.duplicate] == [("0", "2")]
    assert [request.id for request in found.unchanged] == ["4"]


def test_warning_names_the_requests(recwarn):
    warn_of_conflicts(REQUESTS)
    caught = list(recwarn)
    assert len(caught) == 3
    assert "different objects" in str(caught[0].message)
    assert "edit request 0 (subject 'Ann') → 'Rome' and edit request 1" in str(caught[0].message)


def test_agreeing_requests_are_silent(recwarn):
    warn_of_conflicts([REQUESTS[0], REQUESTS[3]])
    assert not recwarn
