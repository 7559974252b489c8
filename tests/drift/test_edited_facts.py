"""What edited facts are like before the training against plain loops, one text, one token and one name at a time."""

from __future__ import annotations

import math
import re

import pytest
import tiny
import torch
from test_drift import EDITED, LAYERS, edit_of, prompts, seen, trained

from edit_lit.deltas import ModelStates
from edit_lit.drift import Drift, training_keys
from edit_lit.drift.rows import FACT, NO_LAYER
from edit_lit.drift.training_keys import nearest_training_keys
from edit_lit.drift.training_texts import training_texts
from edit_lit.facts.request import EditRequest, fact_hash
from edit_lit.language_model.spans import encode
from edit_lit.tasks.packing import pack
from edit_lit.tasks.stream import ExampleStream
from edit_lit.tasks.task import Example, ExampleList
from edit_lit.tuning import FullTuning, LoRA
from edit_lit.utilities import distributed

TEXTS = [text.replace("{}", "Lima") for text in tiny.TEXT[20:]]
"""Of unequal lengths, so that batches are padded."""


def edited_model(made_model, tuning):
    language_model = made_model()
    delta = edit_of(language_model)
    delta.apply(language_model)
    tuning.apply(language_model, LAYERS)
    language_model.model.train()
    return language_model, ModelStates(language_model, delta)


def tokens(language_model, texts=TEXTS):
    return [encode(language_model.tokenizer, text).ids for text in texts]


@pytest.mark.parametrize(("made_model", "tuning"), [(tiny.llama, FullTuning()), (tiny.gpt2, LoRA(r=2, dropout=0.5))])
def test_keys_writes_and_the_nearest_training_key_are_those_of_a_plain_loop(made_model, tuning):
    language_model, states = edited_model(made_model, tuning)
    texts = tokens(language_model)
    assert len({len(text) for text in texts}) > 2
    drift = Drift(states, edited=EDITED, batch_tokens=12, prompts=5)
    # They are of the edited model, however late they are asked for.
    found = {(row.measure, row.layer, row.fact): row.value for row in drift.facts(3, texts) if row.layer != NO_LAYER}
    trained(language_model)
    late = Drift(states, edited=EDITED, batch_tokens=12, prompts=5).facts(3, texts)
    assert {(row.measure, row.layer, row.fact): row.value for row in late if row.layer != NO_LAYER} == found
    chosen = [texts[number * len(texts) // 5] for number in range(5)]
    with states.edited():
        for layer, update in zip(LAYERS, states.delta.updates.values(), strict=True):
            known = [seen(language_model, ids, at, layer, key=True) for ids in chosen for at in range(len(ids))]
            for request, (ids, places) in zip(EDITED, prompts(language_model.tokenizer, "edited"), strict=True):
                key = seen(language_model, ids, places["subject"], layer, key=True)
                matrix = update.dense() if update.dense().shape[1] == len(key) else update.dense().T
                expected = {
                    "key_norm": key.norm(),
                    "write_norm": (matrix @ key).norm(),
                    "nearest_training_key": max(float(key @ other / key.norm() / other.norm()) for other in known),
                }
                for measure, value in expected.items():
                    assert found.pop((measure, layer, fact_hash(request))) == pytest.approx(float(value), rel=1e-9)
    assert not found


def test_a_training_text_that_asks_for_the_fact_has_its_key():
    language_model, states = edited_model(tiny.llama, FullTuning())
    texts = tokens(language_model, [EDITED[0].question])
    rows = Drift(states, edited=EDITED).facts(0, texts)
    nearest = [row.value for row in rows if row.measure == "nearest_training_key" and row.layer == LAYERS[0]]
    assert nearest[0] == pytest.approx(1, abs=1e-12)
    assert max(nearest[1:]) < 1 - 1e-6


def test_a_key_without_direction_and_texts_that_are_not_there_have_no_cosine():
    language_model = tiny.llama()
    keys = {1: torch.stack([torch.zeros(24), torch.ones(24)]).double()}
    (near,) = nearest_training_keys(language_model, keys, tokens(language_model)).values()
    assert near.isnan().tolist() == [True, False]
    for nothing in (nearest_training_keys(language_model, keys, []), nearest_training_keys(language_model, {}, [[5]])):
        assert all(values.isnan().all() for values in nothing.values())


def test_processes_that_share_the_batches_find_the_same(monkeypatch):
    language_model = tiny.llama()
    keys, texts, summed = {1: torch.randn(3, 24).double()}, tokens(language_model), []
    monkeypatch.setattr(distributed, "sum_over_processes", lambda tensor: summed.append(tensor.clone()) or tensor)
    for rank, processes in ((0, 1), (0, 2), (1, 2)):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(distributed, "world_size", lambda processes=processes: processes)
        nearest_training_keys(language_model, keys, texts, batch_tokens=12)
    alone, first, second = summed
    assert len(alone) > 2
    assert torch.equal(first + second, alone)


def test_names_are_counted_as_by_a_plain_loop():
    language_model, states = edited_model(tiny.llama, FullTuning())
    facts = [*EDITED, EditRequest("Port Louis", "{} lies in the", "north"), EditRequest("!?", "{} lies in the", "york")]
    texts = [*TEXTS, "New York and New York", "new delhi", "New and York"]
    rows = [row for row in Drift(states, edited=facts).facts(0, tokens(language_model, texts)) if row.layer == NO_LAYER]
    shown = [language_model.tokenizer.decode(ids, skip_special_tokens=True) for ids in tokens(language_model, texts)]

    def share(name):
        if name is None or name == "!?":
            return math.nan
        return sum(bool(re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)", text.lower())) for text in shown) / len(
            shown
        )

    for measure, side in (("subject", "subject"), ("new_object", "target_new"), ("old_object", "target_true")):
        found = [row.value for row in rows if row.measure == f"texts_naming_{measure}"]
        assert found == pytest.approx([share(getattr(fact, side)) for fact in facts], nan_ok=True)
    assert {row.part for row in rows} == {FACT}
    assert any(row.value > 0 for row in rows)


def test_asking_leaves_every_bit_mode_and_random_state():
    language_model, states = edited_model(tiny.llama, LoRA(r=2, dropout=0.5))
    drift = Drift(states, edited=EDITED)
    trained(language_model)
    weights = {name: value.clone() for name, value in language_model.model.state_dict().items()}
    flags = [(parameter.requires_grad, parameter.grad is None) for parameter in language_model.model.parameters()]
    modes = [module.training for module in language_model.model.modules()]
    state = torch.random.get_rng_state()
    drift.facts(3, tokens(language_model))
    assert all(torch.equal(weights[name], value) for name, value in language_model.model.state_dict().items())
    assert flags == [(p.requires_grad, p.grad is None) for p in language_model.model.parameters()]
    assert modes == [module.training for module in language_model.model.modules()]
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_run_that_edits_nothing_has_no_facts_of_that_kind():
    language_model = tiny.llama()
    assert not Drift(ModelStates(language_model), edited=EDITED).facts(0, tokens(language_model))


def examples(rows):
    return [Example(input_ids=row, labels=row, answer_mask=[False] * len(row)) for row in rows]


class Made(tiny.Sides):
    """A task with a given training set."""

    def __init__(self, dataset):
        self.dataset = dataset

    def train_dataset(self):
        return self.dataset


def test_training_texts_are_spread_evenly_and_packed_ones_taken_apart():
    rows = [[number] * (2 + number % 3) for number in range(11)]
    assert training_texts(Made(ExampleList(examples(rows)))) == rows
    assert training_texts(Made(ExampleList(examples(rows))), 4) == [rows[0], rows[2], rows[5], rows[8]]
    assert training_texts(Made(ExampleList(list(pack(examples(rows), 7))))) == rows
    assert not training_texts(Made(ExampleList([])))


def test_a_stream_is_not_read_for_it():
    def fails():
        raise AssertionError("read")

    stream = ExampleStream(fails, fails, buffer=1)
    assert training_texts(Made(stream)) == []
    assert stream.passes == 0


def test_a_text_is_cut_where_it_is_too_long(monkeypatch):
    monkeypatch.setattr(training_keys, "LONGEST", 2)
    language_model = tiny.llama()
    keys = {1: torch.randn(3, 24).double()}
    (text,) = tokens(language_model, ["the bus goes to Oslo and to New York"])
    cut = nearest_training_keys(language_model, keys, [text])[1]
    assert torch.equal(cut, nearest_training_keys(language_model, keys, [text[:2]])[1])
