from __future__ import annotations

import json
import pickle
import random
from collections import Counter

import pytest
import tiny
import torch
from torch.utils.data import DataLoader

from edit_lit.tasks import RunningText
from edit_lit.tasks.bucketing import BucketedSampler, bucketed
from edit_lit.tasks.stream import ExampleStream, shuffled
from edit_lit.tasks.task import ExampleList

TOKENIZER = tiny.byte_tokenizer()
DOCUMENTS = [f"{tiny.TEXT[number % len(tiny.TEXT)]} number {number} ." for number in range(40)]


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("\n\n".join(DOCUMENTS))
    return str(file)


def ready(task, requests=()):
    task.setup(TOKENIZER, requests)
    return task


def ids_of(texts):
    return [[*TOKENIZER(text)["input_ids"], TOKENIZER.eos_token_id] for text in texts]


def test_blocks_across_documents_are_the_joined_text(path):
    task = ready(RunningText(path, block_tokens=16, across=True, val_documents=4))
    rows = list(task.train_dataset())
    assert {len(row["input_ids"]) for row in rows[:-1]} == {16}
    text = TOKENIZER.decode([token for row in rows for token in row["input_ids"]])
    held_out = TOKENIZER.decode([token for row in task.val_dataset() for token in row["input_ids"]])
    seen = [document for document in DOCUMENTS if document in text]
    assert len(seen) >= 35
    assert sum(document in held_out for document in DOCUMENTS) >= 3
    assert not any(document in held_out for document in seen)


def test_blocks_within_documents_hold_every_document_once(path):
    task = ready(RunningText(path, block_tokens=64, val_documents=4))
    pieces = []
    for row in (*task.train_dataset(), *task.val_dataset()):
        starts = [place for place, position in enumerate(row["position_ids"]) if position == 0]
        for start, end in zip(starts, [*starts[1:], len(row["input_ids"])], strict=True):
            pieces.append(tuple(row["input_ids"][start:end]))
    assert Counter(pieces) == Counter(map(tuple, ids_of(DOCUMENTS)))


def test_records_with_a_column(tmp_path):
    file = tmp_path / "text.jsonl"
    file.write_text("\n".join(json.dumps({"body": text}) for text in DOCUMENTS))
    task = ready(RunningText(str(file), column="body", val_documents=4, limit=5))
    total = sum(len(row["input_ids"]) for row in task.train_dataset())
    assert total <= sum(sorted(map(len, ids_of(DOCUMENTS)))[-5:])


def test_documents_that_mention_an_edit_are_dropped(path, caplog):
    requests = tiny.requests(1)
    with caplog.at_level("INFO"):
        task = ready(RunningText(path, val_path=path, exclude="edits"), requests)
    text = "".join(TOKENIZER.decode(row["input_ids"]) for row in task.train_dataset())
    assert "Oslo" not in text
    assert "training texts dropped" in caplog.text
    with pytest.raises(ValueError, match="val_documents is 40, but"):
        ready(RunningText(path, val_documents=40))


def test_streaming_reads_what_is_not_held_out(path):
    task = ready(RunningText(path, block_tokens=64, val_documents=4, stream=True, buffer=3))
    assert isinstance(task.train_dataset(), ExampleStream)

    def passed():
        return [tuple(row["input_ids"]) for row in task.train_dataset()]

    first, second = passed(), passed()
    assert Counter(first) == Counter(second)
    assert first != second
    tokens = Counter(token for row in first for token in row)
    assert tokens == Counter(token for row in ids_of(DOCUMENTS[4:]) for token in row)


@pytest.mark.parametrize(("processes", "workers"), [(1, 2), (2, 1), (2, 2)])
def test_processes_and_workers_share_a_stream(path, monkeypatch, processes, workers):
    task = ready(RunningText(path, block_tokens=64, val_documents=4, stream=True))
    seen: Counter[int] = Counter()
    for rank in range(processes):
        monkeypatch.setattr("edit_lit.utilities.distributed.rank", lambda rank=rank: rank)
        monkeypatch.setattr("edit_lit.utilities.distributed.world_size", lambda: processes)
        for worker in range(workers):
            info = type("Info", (), {"num_workers": workers, "id": worker, "seed": worker})
            monkeypatch.setattr("edit_lit.tasks.stream.get_worker_info", lambda info=info: info)
            seen += Counter(token for row in task.train_dataset() for token in row["input_ids"])
    assert seen == Counter(token for row in ids_of(DOCUMENTS[4:]) for token in row)


def test_shuffling_in_a_buffer_loses_nothing():
    out = list(shuffled(range(50), 7, random.Random(0)))
    assert sorted(out) == list(range(50))
    assert out != list(range(50))
    assert all(place >= number - 7 for place, number in enumerate(out))


def test_buckets_hold_every_position_once_and_little_padding():
    rng = random.Random(0)
    lengths = [rng.randrange(1, 200) for _ in range(1003)]
    order = bucketed(lengths, 8, torch.Generator().manual_seed(1))
    assert sorted(order) == list(range(1003))

    def padded(positions):
        batches = [positions[start : start + 8] for start in range(0, len(positions), 8)]
        return sum(max(lengths[place] for place in batch) * len(batch) for batch in batches)

    assert padded(order) < 1.1 * sum(lengths)
    assert padded(list(range(1003))) > 1.5 * sum(lengths)
    assert order == bucketed(lengths, 8, torch.Generator().manual_seed(1))
    assert order != bucketed(lengths, 8, torch.Generator().manual_seed(2))


@pytest.mark.parametrize("epoch", [0, 1])
def test_processes_share_the_buckets_of_one(epoch):
    examples = ExampleList([{"input_ids": [1] * (number * 7 % 13 + 1)} for number in range(22)])

    def batches(processes, rank):
        sampler = BucketedSampler(examples, processes, rank, shuffle=True, seed=5, bucket=4)
        sampler.set_epoch(epoch)
        order, size = list(sampler), 4 // processes
        return [order[start : start + size] for start in range(0, len(order), size)]

    alone, first, second = batches(1, 0), batches(2, 0), batches(2, 1)
    assert [sorted(left + right) for left, right in zip(first, second, strict=True)] == [sorted(row) for row in alone]
    assert sorted(place for row in alone for place in row) == list(range(22))


def test_worker_processes_read_each_document_once_and_anew_in_every_pass(path):
    task = ready(RunningText(path, block_tokens=64, val_documents=4, stream=True, buffer=5))
    # A worker may be started from scratch, with a copy of the stream.
    stream = pickle.loads(pickle.dumps(task.train_dataset()))
    loader = DataLoader(stream, batch_size=1, collate_fn=list, num_workers=2, generator=torch.Generator())
    first, second = ([tuple(row["input_ids"]) for (row,) in loader] for _ in range(2))
    assert Counter(first) == Counter(second)
    assert first != second
    tokens = Counter(token for row in first for token in row)
    assert tokens == Counter(token for row in ids_of(DOCUMENTS[4:]) for token in row)
