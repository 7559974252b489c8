"""One seed for the whole run, and those that are set apart."""

from __future__ import annotations

import pytest
import tiny
import torch
from lightning import seed_everything
from torch.utils.data import DataLoader

from edit_lit.data_module import EditDataModule
from edit_lit.fine_tuner import FineTuner
from edit_lit.measures.intrinsic import IntrinsicPool
from edit_lit.tasks import RunningText
from edit_lit.tuning import LoRA
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.seeds import seed_or_global
from edit_lit.world import World


def test_without_a_seed_of_its_own_a_part_takes_that_of_the_run(monkeypatch):
    assert seed_or_global(None) == 0
    assert seed_or_global(7) == 7
    seed_everything(3, verbose=False)
    assert seed_or_global(None) == 3
    assert seed_or_global(0) == 0
    monkeypatch.setenv("PL_GLOBAL_SEED", "three")
    with pytest.raises(ConfigError, match="PL_GLOBAL_SEED is 'three', which is no seed"):
        seed_or_global(None)


def order(tmp_path, run_seed, **options):
    if run_seed is not None:
        seed_everything(run_seed, verbose=False)
    data = EditDataModule(tiny.Sides(), batch_size=4, **options)
    data.trainer = tiny.trainer(str(tmp_path))
    data.trainer.strategy._lightning_module = tiny.tuner()
    data.setup("fit")
    return [tuple(row[row != 0].tolist()) for batch in data.train_dataloader() for row in batch["input_ids"]]


@pytest.mark.parametrize("options", [{}, {"bucket_by_length": True}])
def test_the_order_of_training_examples_follows_the_runs_seed_unless_it_has_its_own(tmp_path, options):
    orders = [order(tmp_path, seed, **options) for seed in (None, 0, 1, 2)]
    assert orders[0] == orders[1]
    assert orders[1] != orders[2] != orders[3] != orders[1]
    assert sorted(orders[1]) == sorted(orders[2])
    assert order(tmp_path, 5, seed=1, **options) == orders[2]


def test_the_order_of_a_stream_does_too_and_its_split_does_not(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(tiny.TEXT))

    def passed(run_seed, **options):
        seed_everything(run_seed, verbose=False)
        task = RunningText(path=str(path), stream=True, val_documents=2, buffer=8, across=True, block_tokens=6)
        data = EditDataModule(task, batch_size=2, **options)
        data.trainer = tiny.trainer(str(tmp_path), max_steps=3)
        data.trainer.strategy._lightning_module = tiny.tuner()
        data.setup("fit")
        loader = data.train_dataloader()
        assert isinstance(loader, DataLoader)
        held_out = [example["input_ids"] for example in task.val_dataset()]
        return [batch["input_ids"].tolist() for batch in loader], held_out

    (zero, split), (one, same_split) = passed(0), passed(1)
    assert zero != one
    assert split == same_split
    assert passed(1, seed=0) == (zero, split)


def test_facts_follow_the_runs_seed_only_if_asked_to():
    def subjects(seed):
        return [request.subject for request in World(limit=20, seed=seed).load()]

    fixed, drawn, plain = [], [], []
    for run_seed in (4, 5):
        seed_everything(run_seed, verbose=False)
        fixed.append(subjects(9))
        drawn.append(subjects("run"))
        plain.append(subjects(None))
    assert fixed[0] == fixed[1]
    assert plain[0] == plain[1]
    assert drawn[0] != drawn[1]
    assert drawn == [subjects(4), subjects(5)]


def adapter(seed, run_seed):
    language_model = tiny.llama()
    torch.manual_seed(run_seed)
    LoRA(r=2, seed=seed).apply(language_model, ())
    weights = {name: weight for name, weight in language_model.model.named_parameters() if "lora_A" in name}
    return torch.cat([weight.flatten() for weight in weights.values()]), torch.rand(())


def test_adapters_start_by_the_runs_seed_unless_they_have_their_own():
    assert not torch.equal(adapter(None, 1)[0], adapter(None, 2)[0])
    own, after = adapter(6, 1)
    again, after_again = adapter(6, 2)
    assert torch.equal(own, again)
    # What is drawn next is as if nothing had been drawn.
    torch.manual_seed(1)
    assert after == torch.rand(())
    assert after != after_again


def test_dropout_follows_the_runs_seed_unless_it_has_its_own(tmp_path):
    def weights(run_seed, seed):
        torch.manual_seed(run_seed)
        module = FineTuner(tiny.llama(), LoRA(r=2, dropout=0.5, seed=0), seed=seed)
        torch.manual_seed(run_seed)
        trainer = tiny.trainer(str(tmp_path), max_steps=2, max_epochs=-1, limit_val_batches=0)
        trainer.fit(module, datamodule=tiny.data())
        return torch.cat([weight.flatten() for weight in module.parameters() if weight.requires_grad])

    assert not torch.equal(weights(1, None), weights(2, None))
    assert torch.equal(weights(1, 5), weights(2, 5))


def test_the_seeds_in_force_are_named(tmp_path):
    assert FineTuner(tiny.llama(), LoRA()).seeds() == {}
    seed_everything(8, verbose=False)
    data = EditDataModule(tiny.Sides(), World(seed="run"), IntrinsicPool(World(seed=3)))
    assert data.seeds() == {"data.seed": 8, "data.edits.seed": 8, "data.intrinsic.source.seed": 3}
    text = tmp_path / "text.txt"
    text.touch()
    data = EditDataModule(RunningText(path=str(text), seed=2), World(), seed=1)
    assert data.seeds() == {"data.seed": 1, "data.task.seed": 2}
    assert FineTuner(tiny.llama(), LoRA(seed=4)).seeds() == {"model.seed": 8, "model.tuning.seed": 4}
