from __future__ import annotations

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edit_lit.language_model.token_batch import TokenBatch
from edit_lit.tasks.label_scores import label_scores
from edit_lit.tasks.packing import check_packing, keeps_examples_apart, pack
from edit_lit.tasks.task import Example, Task


def example(ids: list[int]) -> Example:
    return Example(input_ids=ids, labels=list(ids), answer_mask=[True] * len(ids))


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(4, 9), min_size=1, max_size=12), max_size=12), st.integers(4, 16))
def test_rows_hold_whole_examples_in_order(texts, block):
    rows = list(pack([example(ids) for ids in texts], block))
    flat = [token for row in rows for token in row["input_ids"]]
    assert flat == [token for ids in texts for token in ids[:block]]
    starts = [place for row in rows for place, position in enumerate(row["position_ids"]) if position == 0]
    assert len(starts) == len(texts)
    for row in rows:
        assert len(row["input_ids"]) <= block
        for place, position in enumerate(row["position_ids"]):
            assert row["labels"][place] == (-100 if position == 0 else row["input_ids"][place])
        assert not any(row["answer_mask"])


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2])
def test_packed_training_is_training_on_each_alone(make):
    tuner = tiny.tuner(make())
    tuner.language_model.eval()
    texts = [[5, 6, 7, 8], [9, 10], [11, 5, 12, 6, 7], [8, 8, 9]]
    rows = list(pack([example(ids) for ids in texts], 9))
    assert len(rows) == 2
    packed, _ = label_scores(tuner.language_model, Task.collate(None, rows))
    alone = [label_scores(tuner.language_model, Task.collate(None, [example(ids)]))[0] for ids in texts]
    torch.testing.assert_close(packed, torch.cat(alone))


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2])
def test_models_that_keep_examples_apart_are_recognised(make):
    assert keeps_examples_apart(make())


def test_a_model_that_reads_across_is_refused(monkeypatch):
    language_model = tiny.llama()
    forward = language_model.model.forward

    def across(**inputs):
        return forward(**inputs | {"attention_mask": torch.ones_like(inputs["input_ids"])})

    monkeypatch.setattr(language_model.model, "forward", across)
    assert not keeps_examples_apart(language_model)
    with pytest.raises(ValueError, match="task pack_tokens packs several examples"):
        check_packing(language_model, "task pack_tokens")


def test_a_packed_row_may_meet_a_plain_one():
    (packed,) = pack([example([5, 6]), example([7, 8, 9])], 9)
    batch = Task.collate(None, [packed, example([4, 5, 6, 7, 8, 9])])
    assert batch["position_ids"].tolist() == [[0, 1, 0, 1, 2, 0], [0, 1, 2, 3, 4, 5]]
    assert "position_ids" not in Task.collate(None, [example([4, 5])])


def test_some_rows_keep_their_positions():
    rows = TokenBatch(torch.arange(6).view(3, 2), torch.ones(3, 2), torch.arange(6).view(3, 2) % 4)
    assert torch.equal(rows[torch.tensor([2, 0])].positions, torch.tensor([[0, 1], [0, 1]]))
    assert rows[torch.tensor([1])].positions.tolist() == [[2, 3]]
