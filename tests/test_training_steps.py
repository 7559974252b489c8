"""Optimizer steps against a plain loop over examples, and where they stop making sense."""

from __future__ import annotations

import csv
import logging
import math

import pytest
import tiny
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from edit_lit.data_module import EditDataModule
from edit_lit.fine_tuner import FineTuner
from edit_lit.tasks.task import IGNORED, ExampleList
from edit_lit.utilities.errors import ConfigError


def smooth():
    """A model that computes in float64 throughout and draws nothing."""
    language_model = tiny.gpt2()
    for module in language_model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return language_model


def descent(parameters):
    return torch.optim.SGD(parameters, lr=0.3, momentum=0.5)


def by_hand(windows, clip, steps):
    """Plain steps on windows of examples: weights, losses and accuracies."""
    model = smooth().model.train()
    optimizer = descent(model.parameters())
    losses, accuracies = [], []
    for window in windows[:steps]:
        nll, correct = [], []
        for example in window:
            ids = torch.tensor([example["input_ids"]])
            scores = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            places = [place for place in range(1, ids.shape[1]) if example["labels"][place] != IGNORED]
            nll += [-scores[place - 1, ids[0, place]] for place in places]
            asked = [place for place in range(1, ids.shape[1]) if example["answer_mask"][place]]
            if asked:
                correct.append(all(int(scores[place - 1].argmax()) == int(ids[0, place]) for place in asked))
        loss = torch.stack(nll).mean()
        optimizer.zero_grad()
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        losses.append(float(loss.detach()))
        accuracies.append(sum(correct) / len(correct))
    return model.state_dict(), losses, accuracies


def windows_of(data, parts):
    """The examples of two epochs by optimizer step, the last of an epoch maybe with fewer parts."""
    windows = []
    for epoch in range(2):
        sampler = data.train_dataloader().sampler
        sampler.set_epoch(epoch)
        order = [data.task.train_dataset()[index] for index in sampler]
        size = parts * data.batch_size
        windows += [order[start : start + size] for start in range(0, len(order), size)]
    return windows


def logged(folder, tag):
    with open(folder / "metrics.csv", newline="") as file:
        return [float(row[tag]) for row in csv.DictReader(file) if row.get(tag)]


@pytest.mark.parametrize(("parts", "batch_size"), [(1, 4), (2, 4), (3, 4), (5, 1)])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_parts_of_a_step_are_one_batch(tmp_path, parts, batch_size, clip):
    data = EditDataModule(tiny.Uneven(), batch_size=batch_size)
    module = FineTuner(smooth(), optimizer=descent)
    logger = CSVLogger(str(tmp_path))
    trainer = tiny.trainer(
        str(tmp_path), logger=logger, accumulate_grad_batches=parts, gradient_clip_val=clip, log_every_n_steps=1
    )
    trainer.fit(module, datamodule=data)
    weights, losses, accuracies = by_hand(windows_of(data, parts), clip, trainer.global_step)
    assert len(losses) == trainer.global_step == 2 * math.ceil(12 / batch_size / parts)
    for name, tensor in module.language_model.model.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], rtol=1e-8, atol=1e-10)
    folder = tmp_path / "lightning_logs" / "version_0"
    assert logged(folder, "downstream/train_loss") == pytest.approx(losses, rel=1e-6)
    assert logged(folder, "downstream/train_accuracy") == pytest.approx(accuracies, rel=1e-6)


def test_parts_of_a_step_are_one_batch_in_mixed_precision_too(tmp_path):
    weights = []
    for parts, batch_size in ((1, 12), (6, 2)):
        module = FineTuner(tiny.llama(), optimizer=descent)
        module.language_model.model.float()
        trainer = tiny.trainer(str(tmp_path), accumulate_grad_batches=parts, precision="bf16-mixed", max_epochs=1)
        trainer.fit(module, datamodule=EditDataModule(tiny.Uneven(), batch_size=batch_size))
        weights.append(torch.cat([weight.detach().flatten() for weight in module.language_model.model.parameters()]))
    start = torch.cat([weight.detach().flatten() for weight in tiny.llama().model.float().parameters()])
    moved, apart = (weights[0] - start).norm(), (weights[0] - weights[1]).norm()
    assert apart < 0.03 * moved


class Unlabelled(tiny.Sides):
    """Statements of which every third has no label."""

    def train_dataset(self):
        examples = list(super().train_dataset().examples)
        for place in range(0, 12, 3):
            examples[place] = {**examples[place], "labels": [IGNORED] * len(examples[place]["labels"])}
        return ExampleList(examples)


class Weights(Callback):
    def __init__(self):
        self.seen, self.losses = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))
        self.seen.append((bool((batch["labels"] != IGNORED).any()), pl_module.language_model.head.weight.clone()))


def test_a_step_without_label_tokens_changes_nothing_and_is_told_once(tmp_path):
    watch = Weights()
    module = FineTuner(tiny.llama(), optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1))
    trainer = tiny.trainer(str(tmp_path), [watch], max_epochs=1)
    with pytest.warns(UserWarning, match=r"batch of step \d+ holds no label token") as caught:
        trainer.fit(module, datamodule=EditDataModule(Unlabelled(), batch_size=1))
    assert len([each for each in caught if "label token" in str(each.message)]) == 1
    assert [labelled for labelled, _ in watch.seen].count(False) == 4
    before = tiny.llama().head.weight
    for labelled, after in watch.seen:
        assert torch.equal(before, after) != labelled
        before = after
    assert all(math.isfinite(loss) for loss in watch.losses)
    assert module.diverged_at is None


def huge(parameters):
    return torch.optim.SGD(parameters, lr=1e150)


def test_a_diverged_training_stops_soon_and_says_where_it_began(tmp_path, caplog):
    watch = Weights()
    module = FineTuner(tiny.llama(), optimizer=huge)
    trainer = tiny.trainer(
        str(tmp_path), [watch], max_epochs=30, min_epochs=20, min_steps=60, log_every_n_steps=8, limit_val_batches=0
    )
    with caplog.at_level(logging.INFO, "edit_lit"):
        trainer.fit(module, datamodule=tiny.data(batch_size=1))
    first = next(step for step, loss in enumerate(watch.losses, start=1) if not math.isfinite(loss))
    assert module.diverged_at == first == 2
    assert trainer.global_step == 8
    (line,) = [record.message for record in caplog.records if "finite" in record.message]
    assert line.startswith(f"the loss is no finite number from step {first} on, so training stops. Lower")


def test_a_diverged_training_goes_on_if_asked(tmp_path, caplog):
    module = FineTuner(tiny.llama(), optimizer=huge, on_divergence="continue")
    trainer = tiny.trainer(str(tmp_path), log_every_n_steps=1, limit_val_batches=0)
    trainer.fit(module, datamodule=tiny.data())
    assert module.diverged_at == 2
    assert trainer.global_step == 6
    assert caplog.text.count("from step 2 on, and training goes on") == 1


def test_what_a_diverged_model_answers_is_not_wrong(tmp_path):
    module = FineTuner(tiny.llama(), optimizer=huge, on_divergence="continue")
    trainer = tiny.trainer(str(tmp_path), log_every_n_steps=1)
    trainer.fit(module, datamodule=tiny.data())
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
        assert math.isnan(trainer.callback_metrics[f"downstream/{name}"]), name


class Poison(Callback):
    """Makes a weight that no batch meets infinite, behind the last step."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == trainer.max_steps:
            with torch.no_grad():
                pl_module.language_model.model.get_input_embeddings().weight[0] = torch.inf


def test_weights_that_no_loss_has_met_are_looked_at_in_the_end(tmp_path, caplog):
    module = tiny.tuner()
    trainer = tiny.trainer(str(tmp_path), [Poison()], max_steps=2, max_epochs=-1, limit_val_batches=0)
    trainer.fit(module, datamodule=tiny.data())
    assert module.diverged_at == 2
    assert "weights are no finite number from step 2 on" in caplog.text
    again = tiny.trainer(str(tmp_path), max_steps=2, max_epochs=-1)
    with pytest.raises(ConfigError, match="weights that are NaN or infinite before the first step"):
        again.fit(module, datamodule=tiny.data())


# The run that goes on has one callback less: the one that wrote the checkpoint.
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used to create:UserWarning")
def test_a_checkpoint_knows_that_its_run_diverged(tmp_path):
    saver = ModelCheckpoint(tmp_path / "saved", "{step}", every_n_train_steps=1, save_top_k=-1)
    options = {"enable_checkpointing": True, "log_every_n_steps": 4, "limit_val_batches": 0}
    module = FineTuner(tiny.llama(), optimizer=huge)
    tiny.trainer(str(tmp_path), [saver], **options).fit(module, datamodule=tiny.data())
    path = str(tmp_path / "saved" / "step=2.ckpt")
    assert torch.load(path, weights_only=True)["diverged_at"] == 2
    with pytest.raises(ConfigError, match=r"no numbers from step 2 on.*Resume from an earlier one"):
        tiny.trainer(str(tmp_path)).fit(FineTuner(tiny.llama(), optimizer=huge), datamodule=tiny.data(), ckpt_path=path)
    healthy = FineTuner(tiny.llama(), optimizer=huge)
    path_before = str(tmp_path / "saved" / "step=1.ckpt")
    tiny.trainer(str(tmp_path), max_steps=1, max_epochs=-1).fit(healthy, datamodule=tiny.data(), ckpt_path=path_before)
    assert healthy.diverged_at is None
    goes_on = FineTuner(tiny.llama(), optimizer=huge, on_divergence="continue")
    tiny.trainer(str(tmp_path), limit_val_batches=0).fit(goes_on, datamodule=tiny.data(), ckpt_path=path)
    assert goes_on.diverged_at == 2
