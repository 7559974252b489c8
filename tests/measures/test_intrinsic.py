from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch

from edit_lit.facts.request import EditRequest
from edit_lit.measures.intrinsic import IntrinsicPool, nearest_unused
from edit_lit.measures.scores import Rule


def answer_of(language_model, request):
    """The model's own next word, and its probability."""
    ids = torch.tensor([language_model.tokenizer(request.question)["input_ids"]])
    with torch.no_grad():
        probabilities = language_model.model(input_ids=ids).logits[0, -1].softmax(-1)
    best = int(probabilities.argmax())
    return language_model.tokenizer.decode([best]), float(probabilities[best])


@pytest.fixture
def asked():
    """A model, facts that it knows at even positions and does not know at odd ones, and its confidences."""
    language_model = tiny.llama(seed=3)
    facts, confidence = [], {}
    for number, subject in enumerate(tiny.SUBJECTS):
        request = EditRequest(subject, tiny.TEMPLATES[number % 3], "rains", "late", id=str(number))
        word, probability = answer_of(language_model, request)
        wrong = "late" if word != "late" else "bus"
        known = number % 2 == 0 and not word.startswith("<")
        facts.append(replace(request, target_true=word if known else wrong))
        if known:
            confidence[request.id] = probability
    return language_model, facts, confidence


def chosen(pool, language_model, edits=()):
    return [request.id for request in pool.choose(language_model, edits)]


def test_only_known_facts_are_kept(asked):
    language_model, facts, confidence = asked
    assert len(confidence) >= 3
    assert chosen(IntrinsicPool(tiny.Given(facts)), language_model) == list(confidence)
    least = sorted(confidence.values())[1]
    sure = IntrinsicPool(tiny.Given(facts), min_probability=least - 1e-9)
    assert chosen(sure, language_model) == [id_ for id_, value in confidence.items() if value >= least - 1e-9]


def test_edited_subjects_stay_out(asked):
    language_model, facts, confidence = asked
    first = next(fact for fact in facts if fact.id in confidence)
    edits = [replace(first, subject=first.subject.upper())]
    assert first.id not in chosen(IntrinsicPool(tiny.Given(facts)), language_model, edits)


def test_the_prob_rule_asks_for_less(asked):
    language_model, facts, confidence = asked
    by_probability = chosen(IntrinsicPool(tiny.Given(facts), rule=Rule.PROB), language_model)
    assert set(confidence) <= set(by_probability)


def test_matching_takes_the_most_similar(asked):
    language_model, facts, confidence = asked
    edits = [replace(fact, subject=f"{fact.subject} it", id="edit") for fact in facts[:1]]
    (best,) = chosen(IntrinsicPool(tiny.Given(facts), match_confidence=True), language_model, edits)
    ids = language_model.tokenizer(edits[0].question)["input_ids"]
    target = language_model.tokenizer(edits[0].target_true)["input_ids"][0]
    with torch.no_grad():
        theirs = float(language_model.model(input_ids=torch.tensor([ids])).logits[0, -1].softmax(-1)[target])
    assert best == min(confidence, key=lambda id_: abs(confidence[id_] - theirs))
    (longest,) = chosen(IntrinsicPool(tiny.Given(facts), match_length=True), language_model, [
        replace(edits[0], prompt="it is late . it is late . it is late . {} is")
    ])  # fmt: skip
    lengths = {fact.id: len(fact.question.split()) for fact in facts if fact.id in confidence}
    assert lengths[longest] == max(lengths.values())


def test_nearest_unused():
    distance = torch.tensor([[1.0, 0.0, 5.0, 9.0], [3.0, 1.0, 2.0, 9.0]])
    assert nearest_unused(distance, 2) == [1, 2]
    assert nearest_unused(distance, 4) == [1, 2, 0, 3]


def test_refusals(asked):
    language_model, facts, _ = asked
    unknown = [replace(fact, target_true="yellow") for fact in facts]
    with pytest.raises(ValueError, match="the model knows none of the 8 facts by rule exact"):
        IntrinsicPool(tiny.Given(unknown)).choose(language_model, [])
    with pytest.raises(ValueError, match="matched to the edits, but there are none"):
        IntrinsicPool(tiny.Given(facts), match_length=True).choose(language_model, [])
    edit = EditRequest("Peru", "{} is", "late")
    with pytest.raises(ValueError, match="needs the target_true of every edit"):
        IntrinsicPool(tiny.Given(facts), match_confidence=True).choose(language_model, [edit])
    with pytest.warns(UserWarning, match="size is 50"):
        IntrinsicPool(tiny.Given(facts), size=50).choose(language_model, [])
    with pytest.raises(ValueError, match="size is 0"):
        IntrinsicPool(tiny.Given(facts), size=0)
