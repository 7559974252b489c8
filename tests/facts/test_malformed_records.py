"""Whatever a record holds, a source refuses it clearly or makes a valid request of it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from fact_samples import EASY_EDIT, KNOW_EDIT, KNOWN, MQUAKE, OWN, RIPPLE, ROME, ZSRE
from hypothesis import given, settings
from hypothesis import strategies as st

from edit_lit.facts import CounterFact, EditRequest, JsonFacts, KnowEdit, Known, MQuAKE, Question, RippleEdits, ZsRE
from edit_lit.facts.record_source import RecordSource
from edit_lit.facts.request import name_flaw

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["{}", "a {} {}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


class Given:
    """A source of one record that stands in for a file."""

    def __init__(self, source: type[RecordSource], record: Any, **options: Any) -> None:
        self.source = object.__new__(source)
        source.__init__(self.source, "owner/name", **options)
        self.source.records = lambda: [copy.deepcopy(record)]  # type: ignore[method-assign]

    def load(self) -> list[EditRequest]:
        return self.source.read()


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [prefix, *(path for key, item in inner for path in paths(item, (*prefix, key)))]


@st.composite
def damaged(draw: st.DrawFn, record: dict[str, Any]) -> Any:
    """A record with one or two places dropped or replaced by anything."""
    record = copy.deepcopy(record)
    for _ in range(draw(st.integers(1, 2))):
        *way, last = draw(st.sampled_from([path for path in paths(record) if path] or [("subject",)]))
        place: Any = record
        for key in way:
            place = place[key]
        if draw(st.booleans()):
            del place[last]
        else:
            place[last] = draw(junk)
    return record


def texts(question: Question) -> tuple[Any, ...]:
    optional = [text for text in (question.alternative, question.subject) if text is not None]
    return (question.prompt, question.answer, *optional)


def assert_valid(request: EditRequest) -> None:
    assert request.prompt.count("{}") == 1
    fields = [request.subject, request.prompt, request.target_new, request.id, *request.paraphrases]
    fields += [text for question in (*request.neighborhood, *request.portability) for text in texts(question)]
    for text in (*fields, "-" if request.target_true is None else request.target_true):
        assert isinstance(text, str)
        assert text.strip()


FORMATS = [
    (CounterFact, ROME, {}),
    (CounterFact, EASY_EDIT, {}),
    (ZsRE, ZSRE, {}),
    (ZsRE, ZSRE, {"target": "alt"}),
    (MQuAKE, MQUAKE, {}),
    (KnowEdit, KNOW_EDIT, {}),
    (RippleEdits, RIPPLE, {}),
    (Known, KNOWN, {}),
    (JsonFacts, OWN, {}),
]


@pytest.mark.parametrize(("source", "record", "options"), FORMATS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_records(source, record, options, data):
    broken = data.draw(damaged(record) | junk)
    try:
        requests = Given(source, broken, **options).load()
    except ValueError as error:
        requests, refusal = [], str(error)
    else:
        refusal = None
    assert requests if refusal is None else "record 0" in refusal
    for request in requests:
        assert_valid(request)


@pytest.mark.parametrize(("source", "record", "options"), FORMATS[:-2] + FORMATS[-1:])
@settings(max_examples=25, deadline=None)
@given(broken=junk)
def test_skipping_counts_what_it_leaves_out(source, record, options, broken):
    given_ = Given(source, record, on_error="skip", **options)
    given_.source.records = lambda: [broken, copy.deepcopy(record)]  # type: ignore[method-assign]
    with pytest.warns(UserWarning, match="1 of 2 records are malformed"):
        requests = given_.load()
    assert {request.id.split("/")[0] for request in requests} <= {"1", "3", "7", "8", "first"}


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=6), st.text(max_size=8), st.text(max_size=8))
def test_no_prompt_is_changed(subject, before, after):
    record = {**EASY_EDIT, "subject": subject, "prompt": before + subject + after}
    try:
        (request,) = Given(CounterFact, record).load()
    except ValueError:
        assert name_flaw(subject) or name_flaw((before + after) or "x") or "{}" in before + subject + after
        return
    assert request.question == before + subject + after
