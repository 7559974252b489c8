from __future__ import annotations

import math

import pytest
import tiny
import torch

from edit_lit.facts.request import EditRequest
from edit_lit.language_model.spans import joined
from edit_lit.measures.outcomes import KINDS, Kind, Pool
from edit_lit.measures.probe import Probe, _absorb_prefixes, questions_of


@torch.no_grad()
def asked_one_by_one(language_model, prompt, answer):
    """NLL per token and argmax hits of an answer, from one full forward pass over prompt and answer."""
    tokenizer = language_model.tokenizer
    whole, start = tokenizer(joined(prompt, answer))["input_ids"], len(tokenizer(prompt)["input_ids"])
    logits = language_model.model(input_ids=torch.tensor([whole])).logits[0]
    nll, hits = [], []
    for place in range(start, len(whole)):
        nll.append(-float(logits[place - 1].log_softmax(-1)[whole[place]]))
        hits.append(int(logits[place - 1].argmax()) == whole[place])
    return sum(nll) / len(nll), all(hits), sum(hits) / len(hits), hits[0]


@pytest.mark.parametrize("make_model", [tiny.llama, tiny.gpt2])
@pytest.mark.parametrize("make_tokenizer", [tiny.word_tokenizer, tiny.byte_tokenizer])
@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
def test_outcomes_equal_one_forward_pass_per_question(make_model, make_tokenizer, bos, side):
    language_model = make_model(make_tokenizer(bos, side))
    made = tiny.requests(8)
    outcomes = Probe(made, language_model.tokenizer, batch_tokens=60).run(language_model)
    row = 0
    for number, request in enumerate(made):
        for kind in KINDS:
            for place, question in enumerate(questions_of(request, kind, Pool.EDITED)):
                assert (outcomes.request[row], KINDS[outcomes.kind[row]], outcomes.prompt[row]) == (number, kind, place)
                for side_number, answer in enumerate((question.answer, question.alternative)):
                    nll, exact, token, first = asked_one_by_one(language_model, question.prompt, answer)
                    assert float(outcomes.nll[row, side_number]) == pytest.approx(nll, rel=1e-9)
                    assert outcomes.exact[row, side_number] == exact
                    assert float(outcomes.token[row, side_number]) == pytest.approx(token)
                    assert outcomes.first[row, side_number] == first
                row += 1
    assert row == len(outcomes)


def test_the_batch_size_changes_nothing():
    language_model = tiny.llama()
    small, large = (
        Probe(tiny.requests(8), language_model.tokenizer, batch_tokens=tokens).run(language_model)
        for tokens in (1, 9999)
    )
    for name, tensor in small.tensors().items():
        torch.testing.assert_close(tensor, large.tensors()[name])


def test_rows_that_begin_another_row_are_not_run():
    rows = [(1, 2), (1, 2, 3), (1,), (4,), (1, 2), (1, 2, 4), (4, 1)]
    hosts, host_of = _absorb_prefixes(rows)
    assert sorted(hosts) == [(1, 2, 3), (1, 2, 4), (4, 1)]
    assert all(hosts[host][: len(row)] == row for row, host in zip(rows, host_of, strict=True))
    # Both targets of a prompt, one a single token and one of two tokens: one row for the two.
    request = EditRequest("Oslo", "{} lies in the", "deep west", "north")
    probe = Probe([request], tiny.word_tokenizer())
    assert sum(len(batch.rows) for batch in probe._batches) == 1
    assert sum(len(batch.scored.where[0]) for batch in probe._batches) == 2


def test_probing_leaves_the_model_and_the_generator_alone():
    language_model = tiny.llama()
    language_model.train()
    before = {name: parameter.clone() for name, parameter in language_model.model.named_parameters()}
    state = torch.random.get_rng_state()
    Probe(tiny.requests(), language_model.tokenizer).run(language_model)
    assert torch.equal(state, torch.random.get_rng_state())
    assert language_model.model.training
    assert all(torch.equal(before[name], parameter) for name, parameter in language_model.model.named_parameters())


def test_pools_decide_which_answer_is_right():
    request = tiny.requests(1)[0]
    (edited,) = questions_of(request, Kind.REWRITE, Pool.EDITED)
    (intrinsic,) = questions_of(request, Kind.REWRITE, Pool.INTRINSIC)
    assert (edited.answer, edited.alternative) == ("south", "north") == (intrinsic.alternative, intrinsic.answer)
    assert len(questions_of(request, Kind.NEIGHBORHOOD, Pool.EDITED)) == 2
    assert questions_of(request, Kind.NEIGHBORHOOD, Pool.INTRINSIC) == ()
    with pytest.raises(ValueError, match="request 3.*no target_true.*intrinsic"):
        questions_of(EditRequest("Oslo", "{} is", "x", id="3"), Kind.REWRITE, Pool.INTRINSIC)


def test_without_an_alternative_its_columns_say_so():
    language_model = tiny.llama()
    outcomes = Probe([EditRequest("Oslo", "{} lies in the", "north")], language_model.tokenizer).run(language_model)
    assert math.isnan(outcomes.nll[0, 1])
    assert outcomes.exact[0, 1] == 0
    assert len(Probe([], language_model.tokenizer).run(language_model)) == 0
