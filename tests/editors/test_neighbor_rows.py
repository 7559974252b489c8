"""Rows of neighbours against positions counted by hand and by decoding."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import tiny

from edit_lit.activations.token_rows import neighbor_rows
from edit_lit.facts.request import EditRequest, Question

CONTEXTS = ["{}", "it is late . {}", "the bus goes to Oslo . {} .", "it rains . {}"]
NEAR = (
    Question("The side of New York is", "north", "south", "New York"),
    Question("people say that it rains", "east"),
    Question("Rio de Janeiro lies in the", "deep west", "south", "Rio de Janeiro"),
    Question("the bus goes to Lima and Lima lies in the", "south", "north", "Lima"),
    Question("the bus goes to Port Louis", "east", "north", "Port Louis"),
)
REQUESTS = [
    EditRequest(subject, "{} lies in the", "south", neighborhood=NEAR[turn:] + NEAR[:turn], id=str(turn))
    for turn, subject in enumerate(("Oslo", "Bern", "Quito", "Lima", "New Delhi"))
]


def test_rows_by_hand():
    tokenizer = tiny.word_tokenizer(bos=True)
    (rows,) = neighbor_rows(tokenizer, REQUESTS[:1], ["it is late . {}"], 4)
    read = [tokenizer.convert_ids_to_tokens(row.ids) for row in rows]
    assert [" ".join(tokens) for tokens in read] == [
        "<s> it is late . The side of New York is",
        "<s> it is late . Rio de Janeiro lies in the deep",
        "<s> it is late . the bus goes to Lima and Lima lies in the",
        "<s> it is late . the bus goes to Port Louis",
    ]
    assert [row.subject_last for row in rows] == [9, 7, 11, 10]
    assert [tokenizer.convert_ids_to_tokens(row.answer) for row in rows] == [
        ["north"],
        ["deep", "west"],
        ["south"],
        ["east"],
    ]


@pytest.mark.parametrize("make", [tiny.word_tokenizer, tiny.byte_tokenizer])
@pytest.mark.parametrize("bos", [False, True])
def test_rows_against_decoded_prefixes(make, bos):
    tokenizer = make(bos)
    for request, rows in zip(REQUESTS, neighbor_rows(tokenizer, REQUESTS, CONTEXTS, 4, seed=3), strict=True):
        asked = [question for question in request.neighborhood if question.subject]
        for question, row in zip(asked, rows, strict=True):
            whole = tokenizer.decode([*row.ids[bos:], row.answer[-1]]).strip()
            texts = [context.replace("{}", question.prompt) for context in CONTEXTS]
            assert whole in [f"{text} {question.answer}" for text in texts]
            assert tokenizer.decode(row.answer).strip() == question.answer
            # The subject's last token is the first with which everything up to its last mention's end is read.
            end = whole.rindex(question.subject) + len(question.subject)
            read = [len(tokenizer.decode(row.ids[bos : place + 1]).strip()) for place in range(bos, len(row.ids))]
            assert row.subject_last == next(place for place, length in enumerate(read, bos) if length >= end)


def texts(requests, seed=0, count=4):
    tokenizer = tiny.word_tokenizer()
    return [
        [tokenizer.decode(row.ids) for row in rows]
        for rows in neighbor_rows(tokenizer, requests, CONTEXTS, count, seed)
    ]


def test_a_batch_equals_one_at_a_time_whatever_the_global_state():
    together = texts(REQUESTS)
    random.seed(5)
    assert [texts([request])[0] for request in REQUESTS] == together
    assert texts(REQUESTS[::-1]) == together[::-1]
    assert texts([replace(REQUESTS[0], id="other")]) == together[:1]
    assert [rows[:2] for rows in together] == texts(REQUESTS, count=2)


def test_contexts_are_drawn_by_seed_and_request():
    many = [replace(request, subject=f"{request.subject} {turn}") for request in REQUESTS for turn in range(40)]
    drawn = [text for rows in texts(many) for text in rows]
    shares = [sum(text.startswith(start) for text in drawn) / len(drawn) for start in ("it is late", "it rains")]
    assert all(0.2 < share < 0.3 for share in shares)
    same = [replace(request, neighborhood=NEAR) for request in many]
    assert len({tuple(rows) for rows in texts(same)}) > 100
    assert texts(many, seed=1) != texts(many)


def test_no_neighbors_are_no_rows():
    assert neighbor_rows(tiny.word_tokenizer(), [replace(REQUESTS[0], neighborhood=())], CONTEXTS, 0) == [[]]


def test_too_few_neighbors_are_refused_by_name():
    with pytest.raises(
        ValueError,
        match=r"request 1 \(subject 'Bern'\): target_values.neighbors is 5, but only 4 of its neighborhood questions "
        r"have a subject. Lower it, or give more of the questions a `subject`",
    ):
        neighbor_rows(
            tiny.word_tokenizer(), [replace(REQUESTS[0], neighborhood=(NEAR[0],) * 5), REQUESTS[1]], CONTEXTS, 5
        )


def test_an_answer_without_tokens_names_the_request():
    tokenizer = tiny.word_tokenizer()
    tokenizer.backend_tokenizer.normalizer = __import__("tokenizers").normalizers.Replace("zzz", "")
    bad = replace(REQUESTS[2], neighborhood=(replace(NEAR[0], answer="zzz"),))
    with pytest.raises(ValueError, match="request 2 .*'zzz'"):
        neighbor_rows(tokenizer, [bad], CONTEXTS, 1)
