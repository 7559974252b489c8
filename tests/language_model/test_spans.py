from __future__ import annotations

import pytest
import tiny

from edit_lit.activations.token_rows import prompt_rows, statement_rows
from edit_lit.facts.request import EditRequest
from edit_lit.language_model.spans import answer_rows, encode

TOKENIZERS = [
    pytest.param(make, bos, side, id=f"{make.__name__}-bos{bos}-{side}")
    for make in (tiny.word_tokenizer, tiny.byte_tokenizer)
    for bos in (False, True)
    for side in ("left", "right")
]


@pytest.mark.parametrize(("make", "bos", "side"), TOKENIZERS)
def test_subject_and_answer_positions_match_a_search_over_decoded_prefixes(make, bos, side):
    tokenizer = make(bos, side)
    for request in tiny.requests():
        for context in ("{}", "it is late . {}"):
            (row,) = prompt_rows(tokenizer, [request], [context])[0]
            text = context.replace("{}", request.question)
            # The subject's last token is the first whose decoded prefix contains the whole subject.
            end = text.index(request.subject) + len(request.subject)
            decoded = [tokenizer.decode(row.ids[bos : place + 1]).strip() for place in range(bos, len(row.ids))]
            expected = next(place for place, prefix in enumerate(decoded) if len(prefix) >= end) + bos
            assert row.subject_last == expected
            assert tokenizer.decode(row.answer).strip() == request.target_new
            assert tokenizer.decode([*row.ids[bos:], row.answer[-1]]).strip() == f"{text} {request.target_new}"


@pytest.mark.parametrize(("make", "bos", "side"), TOKENIZERS)
def test_special_tokens_of_the_tokenizer_are_kept(make, bos, side):
    tokenizer = make(bos, side)
    assert encode(tokenizer, "Oslo is late").ids == tokenizer("Oslo is late")["input_ids"]
    (row,) = answer_rows(tokenizer, [("Oslo is", "late")])
    assert (row.ids[0] == tokenizer.bos_token_id) == bos


def test_a_subject_that_occurs_twice_is_found_where_the_slot_is():
    tokenizer = tiny.word_tokenizer()
    request = EditRequest("Oslo", "the bus goes to Oslo and {} is", "north")
    ((row,),) = prompt_rows(tokenizer, [request], ["{}"])
    assert row.subject_last == 6


def test_the_subject_of_a_kl_anchor_prompt_is_found_too():
    (row,) = statement_rows(tiny.word_tokenizer(), [EditRequest("New York", "{} is", "north")], "{} is a")
    assert row.subject_last == 1
    assert len(row.ids) == 4


def test_an_answer_without_tokens_names_itself():
    tokenizer = tiny.word_tokenizer()
    tokenizer.backend_tokenizer.normalizer = __import__("tokenizers").normalizers.Replace("zzz", "")
    with pytest.raises(ValueError, match="'zzz'.*Oslo is"):
        answer_rows(tokenizer, [("Oslo is", "zzz")])
