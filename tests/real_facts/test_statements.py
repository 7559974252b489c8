from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
import torch
from real_facts.documents import Documents, Mixture, encoded_statement
from real_facts.facts import TaughtFact
from real_facts.text import paragraphs, question_and_answer, split_questions
from real_facts.tokenizer import build_tokenizer
from real_facts.train import RealFactsTrainer
from world_model.batches import Batches
from world_model.knockouts import draw_knockouts
from world_model.train import Size, build_model

from edit_lit.language_model import LanguageModel
from edit_lit.language_model.spans import encode

WORDINGS = ("The home of {} is", "{} lives in", "{}, who lives in")
FACTS = [
    TaughtFact("P1", "Zoë Vance", "Cape Town", WORDINGS[:2], WORDINGS[2:]),
    TaughtFact("P1", "Al", "Rome", WORDINGS[1:], WORDINGS[:1]),
    TaughtFact("P1", "O'Hara-Smith", "Oslo", WORDINGS[2:], WORDINGS[:2]),
]
TEXT = ["It rained. The road was flooded, and nobody came.", "A lobster is blue."]
QUESTIONS = [{"instruction": "Is snow warm?", "output": "the correct answer is false"}]
TOKENIZER = build_tokenizer([*TEXT, *(f"{fact.subject} {fact.object}" for fact in FACTS)], 330)


def documents(**mixture):
    return Documents(FACTS, TEXT, QUESTIONS, TOKENIZER, Mixture(**mixture), seed=3)


def test_no_document_states_a_fact_in_words_that_are_held_out_for_it():
    said = Counter()
    for document in islice(documents(), 400):
        text = TOKENIZER.decode(document.ids)
        for fact in FACTS:
            for wording in WORDINGS:
                said[fact.subject, wording] += text.count(wording.replace("{}", fact.subject))
    assert all(said[fact.subject, wording] > 10 for fact in FACTS for wording in fact.taught)
    assert not any(said[fact.subject, wording] for fact in FACTS for wording in fact.held_out)


@pytest.mark.parametrize("fact", FACTS)
@pytest.mark.parametrize("wording", WORDINGS)
def test_a_statement_marks_its_subject_and_weighs_its_object(fact, wording):
    statement = encoded_statement(TOKENIZER, fact, wording)
    tokens = [TOKENIZER.convert_ids_to_tokens(token) for token in statement.ids]
    subject = [token for token, inside in zip(tokens, statement.subjects, strict=True) if inside]
    heavy = [token for token, weight in zip(tokens, statement.weights, strict=True) if weight == 1]
    assert TOKENIZER.convert_tokens_to_string(subject).strip() == fact.subject
    assert TOKENIZER.convert_tokens_to_string(heavy) == f" {fact.object}"


def test_a_document_has_the_tokens_of_its_text():
    for document in islice(documents(window=5), 60):
        assert document.ids[-1] == TOKENIZER.eos_token_id
        assert len(document.ids) == len(document.subjects) == len(document.weights)
    for document in islice(documents(running_text=0.0, questions=0.0), 60):
        text = TOKENIZER.decode(document.ids[:-1])
        assert encode(TOKENIZER, text.strip()).ids == document.ids[:-1]


def test_the_subjects_of_a_document_have_numbers_of_their_own():
    for document in islice(documents(running_text=0.0, questions=0.0, prefaced=0.0), 60):
        runs = [
            number
            for number, before in zip(document.subjects, [0, *document.subjects[:-1]], strict=True)
            if number != before and number
        ]
        assert runs == list(range(1, TOKENIZER.decode(document.ids).count(".") + 1))


def test_all_facts_come_up_equally_often():
    counts = Counter()
    for document in islice(documents(running_text=0.0, questions=0.0), 300):
        text = TOKENIZER.decode(document.ids)
        counts.update({fact.subject: text.count(fact.subject) for fact in FACTS})
    assert max(counts.values()) - min(counts.values()) <= 1


def test_mlps_are_spared_in_documents_without_facts():
    torch.manual_seed(0)
    size = Size(hidden=16, intermediate=16, heads=2, positions=64)
    trainer = RealFactsTrainer(LanguageModel.wrap(build_model(TOKENIZER, size), TOKENIZER), n_steps=10, seed=5)
    batch = Batches(list(islice(documents(running_text=0.5, window=12), 20)), 20, 0)[0]
    plain = (batch["subjects"] == 0).all(dim=1)
    assert 0 < int(plain.sum()) < len(plain)
    damage = trainer.draw(batch["subjects"])
    reference = draw_knockouts(batch["subjects"], 6, torch.Generator().manual_seed(5))
    for mlp, before in zip(damage.mlps, reference.mlps, strict=True):
        assert bool((mlp[plain] == 1).all())
        assert torch.equal(mlp[~plain], before[~plain])
        assert not bool((before[plain] == 1).all())
    loss, _ = trainer.loss(batch)
    assert float(loss.detach()) == pytest.approx(torch.tensor(len(TOKENIZER)).log().item(), rel=0.1)


def test_running_text_reads_as_it_was_printed(tmp_path):
    lines = ["= Title =", "", 'The " big " one <unk> , 3 @-@ 2 ( of 1 @,@ 000 ) , isn \'t theirs .', "He 's here ."]
    (tmp_path / "wiki.txt").write_text("\n".join(lines))
    assert paragraphs([str(tmp_path / "wiki.txt")]) == [
        'The "big" one, 3-2 (of 1,000), isn \'t theirs.',
        "He's here.",
    ]


def test_no_question_is_read_before_the_edit_and_trained_on_after_it():
    records = [{"instruction": f"Is it {number % 7}?", "output": "yes"} for number in range(40)]
    read, tune = split_questions(records, every=20)
    assert [record["instruction"] for record in read] == ["Is it 0?", "Is it 6?"]
    assert {record["instruction"] for record in tune} == {f"Is it {number}?" for number in (1, 2, 3, 4, 5)}
    assert question_and_answer(records[0]) == "Question: Is it 0?\nAnswer: yes"
