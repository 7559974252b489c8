from __future__ import annotations

from collections import Counter

import pytest

from edit_lit.world.facts import World
from edit_lit.world.knowledge_base import build_knowledge_base
from edit_lit.world.reviews import VERDICTS
from edit_lit.world.task import WorldReviews
from edit_lit.world.tokenizer import build_tokenizer

KNOWLEDGE_BASE = build_knowledge_base()
TOKENIZER = build_tokenizer(KNOWLEDGE_BASE)
EDITS = World(limit=50, seed=0).load()


def texts(dataset) -> list[str]:
    return [" ".join(TOKENIZER.convert_ids_to_tokens(dataset[i]["input_ids"])) for i in range(len(dataset))]


def pair_of(text: str) -> tuple[str, str, str]:
    found = text.split()
    place = found.index("very")
    assert found[place + 2] == "and"
    return found[-1], found[place + 1], found[place + 3]


@pytest.fixture(scope="module")
def task() -> WorldReviews:
    task = WorldReviews(n_train=660, n_val=240, seed=0)
    task.setup(TOKENIZER, EDITS)
    return task


def test_sizes(task):
    assert len(task.train_dataset()) == 660
    assert len(task.val_dataset()) == 240


def test_word_pairs_are_split_66_to_24_and_evenly_used(task):
    trained = Counter(pair_of(text) for text in texts(task.train_dataset()))
    held_out = Counter(pair_of(text) for text in texts(task.val_dataset()))
    assert len(trained) == 66
    assert len(held_out) == 24
    assert not set(trained) & set(held_out)
    assert set(trained.values()) == set(held_out.values()) == {10}
    assert Counter(verdict for verdict, _, _ in held_out) == dict.fromkeys(VERDICTS, 8)
    for verdict, first, second in [*trained, *held_out]:
        assert {first, second} <= set(VERDICTS[verdict])


def test_no_edited_subject_is_named(task):
    edited = [" ".join(TOKENIZER.tokenize(request.subject)) for request in EDITS]
    named = Counter()
    for text in [*texts(task.train_dataset()), *texts(task.val_dataset())]:
        subject = text.removeprefix("Review of ").split(" , ")[0]
        named[subject] += 1
        assert subject in KNOWLEDGE_BASE.kinds
        assert subject not in edited
    assert len(named) > 200


def test_the_loss_is_on_all_tokens_and_the_answer_is_the_verdict(task):
    for dataset in (task.train_dataset(), task.val_dataset()):
        for index in range(len(dataset)):
            example = dataset[index]
            assert example["labels"] == example["input_ids"]
            assert TOKENIZER.unk_token_id not in example["input_ids"]
            answer = [i for i, asked in zip(example["input_ids"], example["answer_mask"], strict=True) if asked]
            assert TOKENIZER.decode(answer).strip() in VERDICTS
            assert example["answer_mask"][-1]


def test_the_seed_decides_everything(task):
    again, other = WorldReviews(n_train=660, seed=0), WorldReviews(n_train=660, seed=1)
    again.setup(TOKENIZER, EDITS)
    other.setup(TOKENIZER, EDITS)
    assert texts(again.train_dataset()) == texts(task.train_dataset())
    assert texts(other.train_dataset()) != texts(task.train_dataset())


@pytest.mark.parametrize("option", ["n_train", "n_val"])
def test_an_empty_part_is_refused(option):
    with pytest.raises(ValueError, match=f"{option} is 0"):
        WorldReviews(**{option: 0})


def test_editing_every_subject_leaves_nothing_to_review():
    template = EDITS[0]
    everyone = [type(template)(subject, template.prompt, template.target_new) for subject in KNOWLEDGE_BASE.kinds]
    with pytest.raises(ValueError, match="every subject"):
        WorldReviews().setup(TOKENIZER, everyone)
