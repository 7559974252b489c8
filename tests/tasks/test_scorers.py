from __future__ import annotations

import pytest
import tiny
import torch

from edit_lit.language_model.generation import continuations
from edit_lit.tasks.scorers import (
    ChoiceLikelihood,
    ExtractedChoice,
    FinalNumber,
    ShortAnswer,
    answer_nll,
    extract,
    f1,
    final_number,
)
from edit_lit.tasks.text import Text, examples_of

PROMPTS = ["The side of Oslo is", "it rains", "People say that New York is in the"]


def written_slowly(language_model, prompt, tokens):
    """One token at a time, without cache or padding."""
    tokenizer = language_model.tokenizer
    ids = tokenizer(prompt)["input_ids"]
    new = []
    for _ in range(tokens):
        with torch.no_grad():
            new.append(int(language_model.model(input_ids=torch.tensor([ids + new])).logits[0, -1].argmax()))
        if new[-1] == tokenizer.eos_token_id:
            break
    return tokenizer.decode(new, skip_special_tokens=True)


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2])
@pytest.mark.parametrize("bos", [True, False])
def test_writing_in_batches_is_writing_alone(make, bos):
    language_model = make(tiny.byte_tokenizer(bos=bos))
    expected = [written_slowly(language_model, prompt, 6) for prompt in PROMPTS]
    assert continuations(language_model, PROMPTS, 6) == expected
    assert continuations(language_model, PROMPTS, 6, batch_tokens=1) == expected


def choice_texts():
    choices = ("deep west", "north", "it is late")
    return [Text(prompt, "so it is north .", "north", choices) for prompt in PROMPTS]


def slow_nll(language_model, text):
    example = examples_of(language_model.tokenizer, [text])[0]
    ids = torch.tensor([example["input_ids"]])
    with torch.no_grad():
        log_probabilities = language_model.model(input_ids=ids).logits[0].log_softmax(-1)
    losses = [
        -float(log_probabilities[place - 1, ids[0, place]])
        for place, scored in enumerate(example["answer_mask"])
        if scored
    ]
    return sum(losses) / len(losses)


def test_likelihood_is_the_mean_over_a_choices_tokens():
    language_model = tiny.llama(tiny.byte_tokenizer())
    texts = [text.with_choice(choice) for text in choice_texts() for choice in text.choices]
    fast = answer_nll(language_model, examples_of(language_model.tokenizer, texts), batch_tokens=64)
    assert fast.tolist() == pytest.approx([slow_nll(language_model, text) for text in texts])


@pytest.mark.parametrize("seed", range(4))
def test_choice_likelihood(seed):
    language_model = tiny.llama(tiny.byte_tokenizer(), seed)
    hits = [
        min(text.choices, key=lambda choice: slow_nll(language_model, text.with_choice(choice))) == text.answer
        for text in choice_texts()
    ]
    free = Text("The side of Oslo is", "north")
    scores = ChoiceLikelihood().score(language_model, [free, *choice_texts()])
    assert scores == {"likelihood_accuracy": pytest.approx(sum(hits) / len(hits))}


def test_extraction_takes_the_first_label():
    text = Text("", "answer2", "answer2", ("answer1", "answer2"))
    assert extract("I think answer2, or answer1", text) == "answer2"
    assert extract("the correct answer is answer5", text) == "answer5"
    assert extract("Answer2", text) is None
    assert extract("It is untrue", Text("", "false", "false", ("true", "false"))) == "true"
    assert extract("b10", Text("", "b1", "b1", ("b1", "b10"))) == "b10"


def answering(monkeypatch, *outputs):
    monkeypatch.setattr("edit_lit.tasks.scorers.continuations", lambda model, prompts, tokens: list(outputs))
    return tiny.llama()


def test_extracted_choice(monkeypatch):
    texts = [Text("", "answer2", "answer2", ("answer1", "answer2"))] * 4
    language_model = answering(monkeypatch, "answer2 answer1", "answer1 answer2", "none", "the answer is answer2")
    assert ExtractedChoice().score(language_model, texts) == {"extracted_accuracy": 0.5}


def test_final_number(monkeypatch):
    assert final_number("2 and 3 make 5. #### 1,005") == "1005"
    assert final_number("It costs $-2.50.") == "-2.50"
    assert final_number("#### 7 apples of 9") == "7"
    assert final_number("none") is None
    texts = [Text("", "1+1 #### 2")] * 3
    language_model = answering(monkeypatch, "so #### 2", "it is 2.", "#### 3")
    assert FinalNumber().score(language_model, texts) == {"exact_match": pytest.approx(2 / 3)}


def test_short_answer(monkeypatch):
    assert f1(["red", "fox"], ["red", "dog"]) == 0.5
    assert f1([], []) == 1
    assert f1([], ["a"]) == 0
    texts = [Text("", "The red fox"), Text("", "Rome")]
    language_model = answering(monkeypatch, " a Red fox.\nmore", "in Rome")
    assert ShortAnswer().score(language_model, texts) == {"exact_match": 0.5, "f1": pytest.approx((1 + 2 / 3) / 2)}
