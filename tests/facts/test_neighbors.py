"""Which part of a neighbour's prompt is found to be its subject."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from fact_samples import EASY_EDIT, ROME
from hypothesis import given
from hypothesis import strategies as st

from edit_lit.facts import CounterFact, EditRequest, Question
from edit_lit.facts.neighbors import with_neighbor_subjects


def record(template: str, *neighbors: Any, relation: str | None = "P1", case: int = 0) -> dict[str, Any]:
    """A record as ROME publishes it."""
    made = copy.deepcopy(ROME)
    made["case_id"] = case
    made["requested_rewrite"] |= {"prompt": template, "relation_id": relation}
    made["neighborhood_prompts"] = list(neighbors)
    return made


def subjects(requests: list[EditRequest]) -> list[str | None]:
    return [question.subject for request in requests for question in request.neighborhood]


@pytest.mark.parametrize(
    ("templates", "prompt", "subject"),
    [
        (["The mother tongue of {} is"], "The mother tongue of Jean Gabin is", "Jean Gabin"),
        (["{}, a native"], "Jean Gabin, a native", "Jean Gabin"),
        (["{}'s capital city,"], "The Hague's capital city,", "The Hague"),
        (["In the tongue of {}"], "In the tongue of Ubu Roi", "Ubu Roi"),
        (["What does {} play? They play"], "What does U2 play? They play", "U2"),
        (["{}, in"], "Bern, Indiana, in", "Bern, Indiana"),
        (["The law in {} names"], "The law in  Bern names ", "Bern"),
        (["{} is in"], "Paris is in", "Paris"),
        (["{}, a native"], "Jean Gabin is a native speaker of", None),
        (["The mother tongue of {} is"], "The mother tongue of  is", None),
        (["The mother tongue of {} is"], "The mother tongue of is", None),
        (["{} is in"], "is in", None),
        # Of those that fit, the one with the most text counts, in whatever order they come.
        (["{} works as", "{}, who works as"], "Ann, who works as", "Ann"),
        (["{} owner", "{}'s owner"], "Ann's owner", "Ann"),
        (["{} is located in", "Where is {}? It is located in"], "Where is Bern? It is located in", "Bern"),
        (["{} formed in", "{} was formed in", "{}, that was formed in"], "Abba, that was formed in", "Abba"),
        # The longer template is missing, and its words are no part of a name.
        (["{} works as"], "Ann, who works as", None),
        (["{} was formed in"], "Abba that was formed in", None),
        (["{} formed in"], "Abba was formed in", None),
        (["{} from"], "Abba, from", None),
        (["{} is located in"], "Where is Bern? It is located in", None),
        (["{} is located in"], "The Who is located in", "The Who"),
        # A template without words says nothing.
        (["{}"], "Ann works as", None),
        (["{}?"], "Does Ann work?", None),
    ],
)
def test_wordings(write, templates, prompt, subject):
    for order in (templates, templates[::-1]):
        records = [record(template, case=number) for number, template in enumerate(order)]
        requests = CounterFact(write(*records, record("of {} there is nothing", prompt))).load()
        assert subjects(requests) == [subject]
        assert requests[-1].neighborhood == (Question(prompt, "French", "English", subject),)


def test_only_templates_of_the_own_relation_count(write):
    other = record("{} works as", relation="P2")
    path = write(other, record("{} speaks", "Ann works as", "Bob speaks"))
    assert subjects(CounterFact(path).load()) == [None, "Bob"]
    unnamed = [record("{} is in", relation=None), record("{} at", "Bern is in", relation=None)]
    assert subjects(CounterFact(write(*unnamed)).load()) == ["Bern"]


def test_the_choice_of_facts_does_not_change_what_is_found(write):
    path = write(
        record("{} works as", "Ann, who works as", case=0),
        record("{}, who works as", "Bob works as", case=1),
        record("{} is in", "Bern is in", relation="P2", case=2),
    )
    (first,) = CounterFact(path, limit=1).load()
    (second,) = CounterFact(path, indices=[1]).load()
    assert subjects([first, second]) == ["Ann", "Bob"]
    assert CounterFact(path, relations=["P1"]).load() == [first, second]


def test_a_neighbor_keeps_a_subject_of_its_own(write):
    own = {"prompt": "Ann Lee works as", "target": "cook", "subject": "Lee"}
    (request,) = CounterFact(write(record("{} works as", own))).load()
    assert request.neighborhood == (Question("Ann Lee works as", "cook", "English", "Lee"),)
    with pytest.raises(ValueError, match="record 0: .*'Ann Lee works as' does not name its subject 'Bob'"):
        CounterFact(write(record("{} works as", {**own, "subject": "Bob"}))).load()


def test_easy_edit_records_help_each_other(write):
    other = {**EASY_EDIT, "subject": "Ann", "prompt": "The native language of Ann is"}
    assert subjects(CounterFact(write(EASY_EDIT, other)).load()) == ["Montesquieu", "Montesquieu"]
    assert subjects(CounterFact(write(EASY_EDIT)).load()) == [None]


def is_name(text: str) -> bool:
    return bool(text) and text.split()[-1] not in ("who", "which", "that", "is", "was") and text[-1] != ","


def slow_subjects(templates: list[str], prompt: str) -> set[str | None]:
    """What every template with the most text among those that fit finds."""
    fits: dict[int, set[str | None]] = {}
    for template in templates:
        before, after = template.strip().split("{}")
        length = len(before) + len(after)
        worded = any(letter.isalpha() for letter in before + after)
        if worded and len(prompt) > length and prompt.startswith(before) and prompt.endswith(after):
            found = prompt[len(before) :].removesuffix(after).strip()
            fits.setdefault(length, set()).add(found if is_name(found) else None)
    return fits[max(fits)] if fits else {None}


words = st.lists(st.sampled_from(["a", "of", "is", ",", ", who", "? ", "Ann", "Le", "was"]), max_size=3).map(" ".join)
templates = st.lists(st.tuples(words, words).map(" {} ".join), min_size=1, max_size=6)


@given(templates, st.integers(0, 5), words)
def test_against_a_search_through_all_templates(made, asked, filling):
    prompt = made[asked % len(made)].replace("{}", filling).strip() or "a"
    requests = [EditRequest("Bob", template, "Rome") for template in made]
    requests.append(EditRequest("Bob", "{} zzz", "Rome", neighborhood=(Question(prompt, "Oslo"),)))
    (found,) = subjects(with_neighbor_subjects(requests))
    assert found in slow_subjects(made, prompt)
