"""The shipped model is an honest test bed: it knows its facts, and keeps them where editors look."""

from __future__ import annotations

import random

import pytest
from exam import ask, recall, swapped_recall

from edit_lit.world import MODEL_FOLDER, WorldModel
from edit_lit.world.knowledge_base import build_knowledge_base
from edit_lit.world.tokenizer import words

KNOWLEDGE_BASE = build_knowledge_base()
EDITED_LAYERS = (1, 2, 3)
N_SWAPS = 600


@pytest.fixture(scope="module")
def language_model() -> WorldModel:
    return WorldModel().eval()


def swaps() -> list:
    rng = random.Random(0)
    pairs = []
    while len(pairs) < N_SWAPS:
        fact = rng.choice(KNOWLEDGE_BASE.facts)
        other = rng.choice([f for f in KNOWLEDGE_BASE.facts if f.relation == fact.relation and f.object != fact.object])
        pairs.append((fact, other, rng.choice(fact.relation.templates)))
    return pairs


def test_the_shipped_files_are_small():
    assert sum(file.stat().st_size for file in MODEL_FOLDER.iterdir()) < 8_000_000


def test_recall_on_trained_templates(language_model):
    rng = random.Random(0)
    asked = [(fact, template) for fact in KNOWLEDGE_BASE.facts for template in rng.sample(fact.trained, 3)]
    assert recall(language_model, asked) >= 0.99


def test_recall_on_held_out_templates(language_model):
    rng = random.Random(1)
    asked = [(fact, template) for fact in KNOWLEDGE_BASE.facts for template in rng.sample(fact.held_out, 3)]
    assert recall(language_model, asked) >= 0.95


def test_recall_counts_what_one_prompt_at_a_time_counts(language_model):
    asked = [(fact, fact.held_out[0]) for fact in KNOWLEDGE_BASE.facts[::40]]
    wrong = [(asked[position - 1][0], asked[position][1]) for position in range(len(asked))]
    for facts in (asked, wrong):
        right = 0
        for fact, template in facts:
            ids = language_model.tokenizer(template.replace("{}", fact.subject), return_tensors="pt").input_ids
            best = int(language_model.model(ids).logits[0, -1].argmax())
            right += language_model.tokenizer.decode([best]) == f" {fact.object}"
        assert recall(language_model, facts) == pytest.approx(right / len(facts))


@pytest.mark.parametrize("layer", EDITED_LAYERS)
def test_another_subjects_state_brings_its_object_along(language_model, layer):
    assert swapped_recall(language_model, swaps(), layer) >= 0.9


def test_above_the_edited_layers_the_answer_has_left_the_subject(language_model):
    # Otherwise the swap would succeed anywhere and show nothing.
    assert swapped_recall(language_model, swaps()[:300], len(language_model.blocks) - 1) <= 0.05


def test_swaps_do_what_one_prompt_at_a_time_does(language_model):
    layer = EDITED_LAYERS[-1]
    pairs = swaps()[:40]
    # Asking a subject for itself leaves everything as it was.
    own = [(fact, fact, template) for fact, _, template in pairs]
    assert swapped_recall(language_model, own, layer) == recall(language_model, [(f, t) for f, _, t in own])
    right = 0
    for fact, other, template in pairs:
        ids = [
            language_model.tokenizer(template.replace("{}", f.subject), return_tensors="pt").input_ids
            for f in (fact, other)
        ]
        ends = [len(words(template.split("{}")[0])) + len(words(f.subject)) - 1 for f in (fact, other)]
        state = language_model.model(ids[1], output_hidden_states=True).hidden_states[layer + 1][0, ends[1]]

        def put_in(module, args, output, end=ends[0], state=state):
            changed = output.clone()
            changed[0, end] = state
            return changed

        handle = language_model.blocks[layer].register_forward_hook(put_in)
        best = int(language_model.model(ids[0]).logits[0, -1].argmax())
        handle.remove()
        right += language_model.tokenizer.decode([best]) == f" {other.object}"
    assert swapped_recall(language_model, pairs, layer) == pytest.approx(right / len(pairs))


def test_answers_come_in_the_order_of_the_prompts(language_model):
    prompts = [fact.trained[0].replace("{}", fact.subject) for fact in KNOWLEDGE_BASE.facts[:30]]
    assert ask(language_model, prompts) == [ask(language_model, [prompt])[0] for prompt in prompts]
