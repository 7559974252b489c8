from __future__ import annotations

from dataclasses import replace

import pytest
import tiny

from edit_lit.tasks import FactStatements

TOKENIZER = tiny.byte_tokenizer()


def test_every_wording_but_the_held_out_ones():
    facts = tiny.requests(8)
    held_out = facts[:1]
    task = FactStatements(tiny.Given(facts), tiny.Given(held_out))
    task.setup(TOKENIZER, [])
    asked = {facts[0].question, *facts[0].paraphrases, *(question.prompt for question in facts[0].neighborhood)}
    expected = [
        f"{prompt} {fact.target_true}."
        for fact in facts
        for prompt in (fact.question, *fact.paraphrases)
        if prompt not in asked
    ]
    decoded = [TOKENIZER.decode(row["input_ids"][:-1]) for row in task.train_dataset()]
    assert decoded == expected
    assert len(expected) == 16 - 3
    (row,) = task.val_dataset()
    answer = [token for token, scored in zip(row["input_ids"], row["answer_mask"], strict=True) if scored]
    assert TOKENIZER.decode(answer).strip() == facts[0].target_true
    packed = FactStatements(tiny.Given(facts), tiny.Given(held_out), pack_tokens=64)
    packed.setup(TOKENIZER, [])
    packed.check(tiny.llama(TOKENIZER))
    assert len(packed.train_dataset()) < len(expected)


def test_refusals():
    facts = tiny.requests(2)
    with pytest.raises(ValueError, match="held_out asks every prompt"):
        FactStatements(tiny.Given(facts), tiny.Given(facts)).setup(TOKENIZER, [])
    with pytest.raises(ValueError, match="has no target_true"):
        FactStatements(tiny.Given(facts), tiny.Given([replace(facts[0], target_true=None)])).setup(TOKENIZER, [])
