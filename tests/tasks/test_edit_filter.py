from __future__ import annotations

import pytest

from edit_lit.facts.request import EditRequest
from edit_lit.tasks.edit_filter import EditFilter, check_options, edit_filter

REQUESTS = [
    EditRequest("Léon Blum", "The mother tongue of {} is", "English", "French", relation="P103"),
    EditRequest("Ann", "{} lives in", "New York", relation="home_town"),
    EditRequest("Bob", "{} is", "tall"),
]

TEXTS = {
    "LÉON BLUM was here": "subject",
    "Léon and Blum": None,
    "Annual reports": None,
    "she is new; york is old": "object",
    "Frenchmen": None,
    "in french.": "object",
    "the mother-tongue of all": "relation",
    "he lives in Rome": "relation",
    "my home town": "relation",
    "this is it": None,
    "Bob is tall": "subject",
    "": None,
}


@pytest.mark.parametrize(("text", "kind"), TEXTS.items())
def test_what_a_text_names(text, kind):
    assert EditFilter(REQUESTS, keep_mentions=False).named_in(text) == kind


def test_excluding_and_keeping_mentions_share_out_the_texts(caplog):
    kept = list(edit_filter(REQUESTS, "edits", None).filter(TEXTS, str))
    with caplog.at_level("INFO"):
        only = list(edit_filter(REQUESTS, None, "edits").filter(TEXTS, str))
    assert kept == [text for text, kind in TEXTS.items() if kind is None]
    assert sorted(kept + only) == sorted(TEXTS)
    assert "5 of 12 training texts dropped; 7 name an edit (first by subject 2, object 2, relation 3)" in caplog.text


def test_options():
    assert edit_filter(REQUESTS, None, None) is None
    with pytest.raises(ValueError, match=r"task exclude is 'edits', but data\.edits yields no facts"):
        edit_filter([], "edits", None)
    with pytest.raises(ValueError, match="task only is 'facts'"):
        check_options(None, "facts")
    with pytest.raises(ValueError, match="are both 'edits'"):
        check_options("edits", "edits")
