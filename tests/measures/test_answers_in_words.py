"""What was asked and what was answered, in words, beside the numbers."""

from __future__ import annotations

import math

import pyarrow.parquet as pq
import pytest
import tiny
import torch

from edit_lit.facts.request import EditRequest, fact_hash
from edit_lit.language_model.generation import Continuation, greedy_continuations
from edit_lit.measures.answers import FOLDER, NOTHING, AnswersAt, ask, read_answers, write_answers
from edit_lit.measures.curve import BEFORE_EDIT
from edit_lit.measures.outcome_files import FOLDER as OUTCOMES
from edit_lit.measures.outcome_files import read_probes
from edit_lit.measures.outcomes import KINDS, Pool
from edit_lit.measures.probe import Probe, questions_of
from edit_lit.measures.question_files import FILE, read_questions
from edit_lit.measures.retention import Retention
from edit_lit.utilities.errors import ConfigError


def pools():
    return {"edited": tiny.requests(), "intrinsic": tiny.requests(8)[4:]}


def retention(language_model, folder, **options):
    return Retention(language_model, **pools(), folder=folder, every_n_steps=2, **options)


def by_hand(language_model, prompt, tokens):
    """One argmax after the other, each by a whole pass of its own."""
    ids = language_model.tokenizer(prompt)["input_ids"]
    new: list[int] = []
    while len(new) < tokens:
        with torch.no_grad():
            new.append(int(language_model.model(input_ids=torch.tensor([ids + new])).logits[0, -1].argmax()))
        if new[-1] == language_model.tokenizer.eos_token_id:
            return Continuation(language_model.tokenizer.decode(new[:-1]), len(new) - 1, ended=True)
    return Continuation(language_model.tokenizer.decode(new), len(new), ended=False)


def test_a_run_says_once_what_it_asked(tmp_path):
    asked = retention(tiny.llama(), tmp_path)
    asked.before_edit()
    asked.probe(0)
    read = read_questions(tmp_path / FILE)
    rows = pq.read_table(tmp_path / OUTCOMES / "step_000000000.parquet").to_pylist()
    expected = [
        (pool, number, kind, place, question)
        for pool, facts in ((Pool.EDITED, tiny.requests()), (Pool.INTRINSIC, tiny.requests(8)[4:]))
        for number, fact in enumerate(facts)
        for kind in KINDS
        for place, question in enumerate(questions_of(fact, kind, pool))
    ]
    found = [(pool, question) for pool, of_pool in read.items() for question in of_pool]
    assert len(found) == len(expected) == len(rows)
    tokenizer = tiny.word_tokenizer()
    for (pool, one), (its_pool, number, kind, place, question), row in zip(found, expected, rows, strict=True):
        assert (pool, one.request, one.kind, one.prompt) == (its_pool, number, kind, place)
        assert (row["pool"], row["request"], row["kind"], row["prompt"]) == (pool, number, kind, place)
        assert (one.fact, one.id, one.subject) == (row["fact"], row["id"], row["subject"])
        assert (one.text, one.answer, one.alternative) == (question.prompt, question.answer, question.alternative)
        assert one.answer_tokens == len(tokenizer(one.answer)["input_ids"])
        assert one.alternative_tokens == len(tokenizer(one.alternative)["input_ids"])
        assert one.subject_tokens == len(one.subject.split())


def test_a_question_may_lack_its_alternative(tmp_path):
    fact = EditRequest("Oslo", "{} lies in the", "north")
    Retention(tiny.llama(), edited=[fact], folder=tmp_path).before_edit()
    ((question,),) = read_questions(tmp_path / FILE).values()
    assert (question.alternative, question.alternative_tokens, question.relation) == (None, None, None)
    assert read_questions(tmp_path / "none.parquet") is None


@pytest.mark.parametrize("model", [tiny.llama, tiny.gpt2])
def test_answers_are_the_argmax_token_by_token_and_say_where_they_were_cut(model):
    language_model = model()
    prompts = [fact.question for fact in tiny.requests(8)]
    with torch.no_grad():  # So that some texts end, and others are cut.
        end = language_model.tokenizer.eos_token_id
        language_model.head.weight[end] = 1.5 * language_model.head.weight.roll(1, 0)[end]
    found = greedy_continuations(language_model, prompts, 7)
    assert found == [by_hand(language_model, prompt, 7) for prompt in prompts]
    assert {one.tokens == 7 for one in found} >= {not one.ended for one in found}


def test_an_ended_text_counts_its_own_tokens(monkeypatch):
    language_model = tiny.llama()
    end, word = language_model.tokenizer.eos_token_id, language_model.tokenizer.convert_tokens_to_ids("north")
    monkeypatch.setattr(
        "edit_lit.language_model.generation.generated",
        lambda model, ids, mask, **options: torch.cat([ids, torch.tensor([[word, end, end], [word, word, word]])], 1),
    )
    first, second = greedy_continuations(language_model, ["it rains", "it is"], 3)
    assert first == Continuation("north", 1, ended=True)
    assert second == Continuation("north north north", 3, ended=False)


@pytest.mark.parametrize(("at", "steps"), [("never", []), ("last", [3]), ("every", [BEFORE_EDIT, 0, 2, 3])])
def test_answers_are_written_where_they_are_asked_for(tmp_path, at, steps):
    language_model = tiny.llama()
    state, weights = torch.get_rng_state(), [tensor.clone() for tensor in language_model.model.parameters()]
    language_model.model.train()
    asked = retention(language_model, tmp_path, answers=AnswersAt(at), answer_tokens=4)
    asked.before_edit()
    for step in (0, 2, 3):
        asked.probe(step, last=step == 3)
    assert language_model.model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, language_model.model.parameters(), weights))
    language_model.model.eval()
    read = read_answers(tmp_path / FOLDER)
    expected = {Pool.EDITED: [by_hand(language_model, fact.question, 4) for fact in tiny.requests()]}
    assert read == dict.fromkeys(steps, expected)
    assert list(read_probes(tmp_path / OUTCOMES)[Pool.EDITED]) == [BEFORE_EDIT, 0, 2, 3]


def test_a_run_that_ends_early_is_asked_at_its_end_and_once(tmp_path):
    asked = retention(tiny.llama(), tmp_path)
    asked.probe(0)
    asked.probe(2)
    asked.end(3)
    assert read_answers(tmp_path / FOLDER) == {}
    asked.end(2)
    (path,) = (tmp_path / FOLDER).glob("step_000000002.parquet")
    made = path.stat().st_mtime_ns
    asked.end(2)
    assert path.stat().st_mtime_ns == made


def test_a_model_without_room_or_without_numbers_answers_nothing():
    language_model, facts = tiny.llama(), tiny.requests()
    probe = Probe(facts, language_model.tokenizer)
    outcomes = probe.run(language_model)
    language_model.model.config.max_position_embeddings = 8
    assert {one.tokens for one in ask(language_model, facts, outcomes, 10, 8192)} <= {0, 1, 2, 3}
    language_model.model.config.max_position_embeddings = 3
    assert ask(language_model, facts, outcomes, 10, 8192) == [NOTHING] * 4
    language_model.model.config.max_position_embeddings = 64
    with torch.no_grad():
        token = language_model.tokenizer.convert_tokens_to_ids("Oslo")
        language_model.model.get_input_embeddings().weight[token] = math.nan
    broken = ask(language_model, facts, probe.run(language_model), 4, 8192)
    assert broken[0] == NOTHING
    assert broken[1:] == [by_hand(language_model, fact.question, 4) for fact in facts[1:]]


def test_a_resumed_run_keeps_the_words_of_its_checkpoint_and_drops_later_ones(tmp_path):
    language_model = tiny.llama()
    first = retention(language_model, tmp_path / "first", answers=AnswersAt.EVERY)
    states = {}
    for step in (0, 2, 4):
        first.probe(step)
        states[step] = first.state_dict()
    (tmp_path / "first" / FILE).unlink()  # As a run of an earlier version, which had no such file.
    second = retention(language_model, tmp_path / "second", answers=AnswersAt.EVERY)
    second.load_state_dict(states[2])
    second.probe(6)
    assert list(read_answers(tmp_path / "second" / FOLDER)) == [0, 2, 6]
    again = retention(language_model, tmp_path / "first", answers=AnswersAt.EVERY)
    again.load_state_dict(states[2])
    again.probe(6)
    assert list(read_answers(tmp_path / "first" / FOLDER)) == [0, 2, 6]
    for name in ("first", "second"):
        asked = read_questions(tmp_path / name / FILE)
        assert asked[Pool.EDITED][0].fact == fact_hash(tiny.requests()[0])


def test_damaged_texts_are_named_in_one_line(tmp_path):
    asked = retention(tiny.llama(), tmp_path)
    asked.probe(0, last=True)
    for path, read in (
        (tmp_path / FILE, lambda: read_questions(tmp_path / FILE)),
        (tmp_path / FOLDER / "step_000000000.parquet", lambda: read_answers(tmp_path / FOLDER)),
    ):
        whole = path.read_bytes()
        for damaged in (b"", whole[: len(whole) // 2], b"PAR1" + whole[-40:]):
            path.write_bytes(damaged)
            with pytest.raises(ConfigError, match=f"{path.name} is no whole") as caught:
                read()
            assert "\n" not in str(caught.value)
        path.write_bytes(whole)
        assert read()
    write_answers(tmp_path / FOLDER, 1, {Pool.EDITED: [NOTHING]}, {Pool.EDITED: tiny.requests(1)})
    path = tmp_path / FOLDER / "step_000000001.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    assert read_answers(tmp_path / FOLDER)[1] == {}
