from __future__ import annotations

import pytest
import tiny
import torch
from lightning.pytorch.demos.boring_classes import BoringModel

from edit_lit.data_module import EditDataModule
from edit_lit.utilities.errors import ConfigError


def attached(data, tmp_path, processes=1, rank=0, monkeypatch=None):
    trainer = tiny.trainer(str(tmp_path))
    if processes > 1:
        monkeypatch.setattr(type(trainer), "world_size", processes)
        monkeypatch.setattr(type(trainer), "global_rank", rank)
    data.trainer = trainer
    trainer.strategy._lightning_module = tiny.tuner()
    data.setup("fit")
    return data


def test_edited_subjects_are_not_in_the_intrinsic_pool(tmp_path):
    data = EditDataModule(tiny.Sides(), tiny.Given(tiny.requests(3)), tiny.Given(tiny.requests(8)), 4)
    attached(data, tmp_path)
    assert [request.subject for request in data.intrinsic_requests] == list(tiny.SUBJECTS[3:])


class Scored(tiny.Sides):
    """A task with a score of its own."""

    def score(self, language_model):
        return {"parameters": float(sum(weight.numel() for weight in language_model.model.parameters()))}


def test_the_tasks_own_scores_are_measured_at_each_validation_on_its_data_only(tmp_path):
    module, data = tiny.tuner(), EditDataModule(Scored(), batch_size=4)
    trainer = tiny.trainer(str(tmp_path))
    trainer.validate(module, datamodule=data, verbose=False)
    count = sum(weight.numel() for weight in module.language_model.model.parameters())
    assert float(trainer.callback_metrics["downstream/val_parameters"]) == count
    # A second pass sets nothing up again, and has the scores all the same.
    for _ in range(2):
        trainer = tiny.trainer(str(tmp_path))
        trainer.validate(module, datamodule=data, verbose=False)
        assert float(trainer.callback_metrics["downstream/val_parameters"]) == count
    other = tiny.trainer(str(tmp_path))
    other.validate(module, dataloaders=data.val_dataloader(), verbose=False)
    assert set(other.callback_metrics) == {f"downstream/val_{name}" for name in ("loss", "perplexity", "accuracy")}


def test_a_module_without_a_language_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="BoringModel has no language_model"):
        tiny.trainer(str(tmp_path)).fit(BoringModel(), datamodule=tiny.data())


def rows_of(loader):
    return [tuple(row[row != 0].tolist()) for batch in loader for row in batch["input_ids"]]


@pytest.mark.parametrize("epoch", [0, 1])
def test_two_processes_see_the_batches_of_one(tmp_path, monkeypatch, epoch):
    def batches(processes, rank):
        with monkeypatch.context() as patch:
            loader = attached(tiny.data(), tmp_path, processes, rank, patch).train_dataloader()
            loader.sampler.set_epoch(epoch)
            return [{tuple(row[row != 0].tolist()) for row in batch["input_ids"]} for batch in loader]

    alone, first, second = batches(1, 0), batches(2, 0), batches(2, 1)
    assert len(alone) == len(first) == 3
    for whole, left, right in zip(alone, first, second, strict=True):
        assert left | right == whole
        assert not left & right


def test_validation_counts_each_example_once_in_any_number_of_processes(tmp_path, monkeypatch):
    labelled = []
    for rank in range(2):
        with monkeypatch.context() as patch:
            loader = attached(tiny.data(), tmp_path, 2, rank, patch).val_dataloader()
            for batch in loader:
                labelled += [tuple(row.tolist()) for row in batch["labels"] if (row != -100).any()]
    assert len(labelled) == 5


def test_bad_batch_sizes_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="data.batch_size is 3, which 2 processes cannot share"):
        attached(tiny.data(batch_size=3), tmp_path, 2, 0, monkeypatch)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="data.batch_size is 13, but the task has 12"):
        attached(tiny.data(batch_size=13), tmp_path).train_dataloader()


def test_padding_is_on_the_right_and_without_loss():
    task = tiny.Sides()
    task.setup(tiny.word_tokenizer(padding_side="left"), [])
    examples = [task.train_dataset()[0], task.train_dataset()[9]]
    batch = task.collate(examples)
    for row, example in enumerate(examples):
        length = len(example["input_ids"])
        assert batch["input_ids"][row, :length].tolist() == example["input_ids"]
        assert batch["attention_mask"][row].sum() == length
        assert torch.equal(batch["attention_mask"][row, :length], torch.ones(length, dtype=torch.long))
        assert (batch["labels"][row, length:] == -100).all()
        assert not batch["answer_mask"][row, length:].any()
