"""No question is ever asked with its braces."""

from __future__ import annotations

import pytest
from fact_samples import OWN

from edit_lit.facts import EditRequest, JsonFacts, Question
from edit_lit.measures.outcomes import KINDS, Pool
from edit_lit.measures.probe import questions_of
from edit_lit.utilities.errors import ConfigError


def asked(request):
    return [question.prompt for kind in KINDS for question in questions_of(request, kind, Pool.EDITED)]


def test_a_paraphrase_is_about_the_subject_and_a_neighbor_about_its_own():
    request = EditRequest(
        "Ann",
        "{} lives in",
        "Rome",
        paraphrases=("The home of {} is", "{}, so called {}, is at home in"),
        neighborhood=(Question("{} lives in", "Oslo", subject="Bob"),),
        portability=(Question("The country of {} is", "Italy", subject="Ann"),),
    )
    assert asked(request) == [
        "Ann lives in",
        "The home of Ann is",
        "Ann, so called Ann, is at home in",
        "Bob lives in",
        "The country of Ann is",
    ]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"neighborhood": [{"prompt": "{} lives in", "answer": "Oslo"}]}, r"its prompt holds the placeholder \{\}"),
        ({"portability": [{"prompt": "{}'s country is", "answer": "Italy"}]}, "give the question the subject that"),
        ({"portability": [{"prompt": "It is", "answer": "{}"}]}, r"its answer holds the placeholder \{\}"),
        ({"paraphrases": ["The home of {subject} is"]}, r"paraphrase 'The home of \{subject\} is' holds the placeh"),
        ({"paraphrases": ["The home of {0} is"]}, r"holds the placeholder \{0\}"),
        ({"paraphrases": ["The home of { } is"]}, r"holds the placeholder \{ \}"),
        ({"prompt": "{} of {subject} lives in"}, r"prompt holds the placeholder \{subject\}"),
        ({"subject": "{}"}, r"subject holds the placeholder \{\}"),
        ({"target_new": "the {}"}, r"target_new holds the placeholder \{\}"),
        ({"target_true": "{0}"}, r"target_true holds the placeholder \{0\}"),
    ],
)
def test_what_cannot_be_filled_in_is_refused_by_name(write, fields, complaint):
    path = write(OWN, {**OWN, **fields})
    with pytest.raises(ConfigError, match=rf"facts.json, record 1: .*{complaint}"):
        JsonFacts(path).load()
    with pytest.warns(UserWarning, match="1 of 2 records are malformed"):
        (request,) = JsonFacts(path, on_error="skip").load()
    assert not any("{" in prompt for prompt in asked(request))


@pytest.mark.parametrize(
    ("field", "text", "complaint"),
    [
        ("subject", "Os\x00lo", r"subject holds the character U\+0000"),
        ("subject", "\u200b", "subject is '.u200b'; write a text that is not blank"),
        ("subject", "Os\u200blo", r"subject holds U\+200B, which has no width"),
        ("subject", "\ud800", r"subject holds half a surrogate pair, U\+D800"),
        ("subject", "Os\x1blo", r"subject holds the control character U\+001B"),
        ("subject", "x" * 200_000, "subject is 200000 characters long"),
        ("target_new", "Ro\ufeffme", r"target_new holds U\+FEFF"),
        ("target_true", "\t\u2060", "target_true is .*not blank"),
        ("prompt", "{} lives\x85 in", r"prompt holds the control character U\+0085"),
        ("paraphrases", ["Ann\x07 is"], r"paraphrase .* holds the control character U\+0007"),
        ("portability", [{"prompt": "Is\x08 it", "answer": "x"}], r"its prompt holds the control character U\+0008"),
    ],
)
def test_what_cannot_be_seen_is_refused_by_name(write, field, text, complaint):
    path = write({**OWN, field: text})
    with pytest.raises(ConfigError, match=rf"facts.json, record 0.*{complaint}") as refusal:
        JsonFacts(path).load()
    assert len(str(refusal.value)) < 600
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("text", ["Àsìkò", "علي‌رضا", "👩‍🚀 crew", "St. John's\u00a0Town", 'O\'Neil "Bo"', "C++"])
def test_names_of_the_world_are_fine(text):
    request = EditRequest(text, "{} lives in", text, target_true=text, paraphrases=("Home of {} is",))
    assert asked(request) == [f"{text} lives in", f"Home of {text} is"]
