"""What is wrong with a training is said before anything is computed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import tiny
import torch
from lightning.pytorch.strategies import (
    DDPStrategy,
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
)
from torch.optim import SGD, AdamW, Muon
from torch.optim.lr_scheduler import LinearLR, OneCycleLR, ReduceLROnPlateau

from callbacks import KnowledgeEdit
from edit_lit.data_module import EditDataModule
from edit_lit.editors import MEMIT
from edit_lit.tasks.task import IGNORED, ExampleList
from edit_lit.training_checks import check_optimizer, check_strategy
from edit_lit.tuning import FullTuning, LoRA
from edit_lit.utilities.errors import ConfigError


@pytest.mark.parametrize("kind", [FSDPStrategy, ModelParallelStrategy, DeepSpeedStrategy])
def test_strategies_that_split_the_model_are_refused(kind):
    # Bare objects, because not all of them can be made on a machine without their libraries and devices.
    with pytest.raises(ConfigError, match=f"trainer.strategy is {kind.__name__}, which splits the model.*Use auto or"):
        check_strategy(SimpleNamespace(strategy=object.__new__(kind)))


@pytest.mark.parametrize("kind", [DDPStrategy, SingleDeviceStrategy])
def test_strategies_that_keep_the_model_whole_are_not(kind):
    check_strategy(SimpleNamespace(strategy=object.__new__(kind)))


class Untouched(tiny.Sides):
    """A task that must not be reached."""

    def setup(self, tokenizer, requests):
        raise AssertionError("the data were set up before the options were checked")


@pytest.mark.filterwarnings("ignore:Precision 16-mixed is not supported:UserWarning")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "16-true"}, "trainer.precision is 16-true.*bf16-mixed"),
        ({"max_steps": 0}, "trainer.max_steps is 0, so nothing would be trained"),
        ({"max_epochs": 0}, "trainer.max_epochs is 0"),
        ({"limit_train_batches": 0}, "trainer.limit_train_batches is 0"),
        ({"accumulate_grad_batches": 0}, "trainer.accumulate_grad_batches is 0; it must be at least 1"),
        ({"accumulate_grad_batches": -2}, "trainer.accumulate_grad_batches is -2"),
    ],
)
def test_bad_options_of_the_trainer_are_refused_before_the_data_are_read(tmp_path, options, message):
    trainer = tiny.trainer(str(tmp_path), **options)
    with pytest.raises(ConfigError, match=message):
        trainer.fit(tiny.tuner(), datamodule=EditDataModule(Untouched(), tiny.Given(tiny.requests())))


def with_rate(rate):
    return lambda parameters: SGD(parameters, lr=rate)


@pytest.mark.parametrize(
    ("optimizer", "schedule", "message"),
    [
        (with_rate(float("nan")), None, "model.optimizer has the learning rate nan. Give a finite"),
        (with_rate(-1.0), None, "model.optimizer cannot be made: Invalid learning rate"),
        (with_rate(float("inf")), None, "model.optimizer has the learning rate inf"),
        (with_rate(0.0), None, "model.optimizer has the learning rate 0.0. Give a finite number above 0"),
        (lambda parameters: SGD(parameters, rate=1.0), None, "model.optimizer cannot be made.*rate"),
        (with_rate(0.1), lambda optimizer: LinearLR(optimizer, start_factor=2.0), "model.lr_scheduler cannot be made"),
        (with_rate(0.1), lambda optimizer: OneCycleLR(optimizer, 0.1), "model.lr_scheduler cannot be made.*steps"),
        (with_rate(0.1), ReduceLROnPlateau, "model.lr_scheduler is ReduceLROnPlateau.*another schedule"),
    ],
)
def test_optimizers_and_schedules_that_cannot_train_are_refused(tmp_path, optimizer, schedule, message):
    module = tiny.tuner(lr_scheduler=schedule)
    module.optimizer = optimizer
    with pytest.raises(ConfigError, match=message):
        tiny.trainer(str(tmp_path)).fit(module, datamodule=EditDataModule(Untouched()))


def test_optimizers_of_any_kind_are_not():
    for optimizer in (
        AdamW,
        lambda parameters: Muon(parameters, lr=0.1),
        lambda parameters: torch.optim.LBFGS(parameters),
    ):
        check_optimizer(optimizer, lambda made: LinearLR(made, total_iters=3))


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        (FullTuning([9]), "tuning.layers names layer 9"),
        (FullTuning("all", ["*.absent"]), "selects nothing to train"),
        (LoRA(modules=["*norm"]), "selects no matrix for an adapter"),
    ],
)
def test_a_tuning_that_trains_nothing_is_refused_before_the_data_are_read(tmp_path, tuning, message):
    with pytest.raises(ConfigError, match=message):
        tiny.trainer(str(tmp_path)).fit(tiny.tuner(tuning=tuning), datamodule=EditDataModule(Untouched()))


class Unlabelled(tiny.Sides):
    def train_dataset(self):
        return ExampleList([{**example, "labels": [IGNORED] * 9} for example in super().train_dataset().examples])


class UnlabelledBehind(tiny.Sides):
    def val_dataset(self):
        return ExampleList([{**each, "labels": [5, *[IGNORED] * 9]} for each in super().val_dataset().examples])


@pytest.mark.parametrize(
    ("tuning", "task", "batch_size", "options", "message"),
    [
        (FullTuning("after_edited"), tiny.Sides, 4, {}, "'after_edited'.*selects nothing to train"),
        (LoRA(layers="unedited", modules=["*norm"]), tiny.Sides, 4, {}, "selects no matrix"),
        (FullTuning(), tiny.Sides, 13, {}, "data.batch_size is 13, but the task has 12 training examples"),
        (FullTuning(), Unlabelled, 4, {}, "no label token in any of its 12 training examples"),
        (FullTuning(), UnlabelledBehind, 4, {}, "no label token in any of its 5 validation examples"),
        (FullTuning(), tiny.Sides, 4, {"val_check_interval": 4}, "val_check_interval is 4, but an epoch has 3.*null"),
        (FullTuning(), tiny.Sides, 4, {"limit_train_batches": 0.1}, "limit_train_batches is 0.1, which is none of 3"),
    ],
)
def test_what_the_edit_would_be_wasted_on_is_refused_before_it(
    tmp_path, monkeypatch, tuning, task, batch_size, options, message
):
    monkeypatch.setattr(MEMIT, "edit", lambda *_: pytest.fail("edited before the training was checked"))
    edit = KnowledgeEdit(MEMIT([2, 3]))
    data = EditDataModule(task(), tiny.Given(tiny.requests()), batch_size=batch_size)
    with pytest.raises(ConfigError, match=message):
        tiny.trainer(str(tmp_path), [edit], **options).fit(tiny.tuner(tuning=tuning), datamodule=data)


def test_training_examples_need_not_be_there_to_validate(tmp_path):
    data = EditDataModule(tiny.Sides(), batch_size=13)
    tiny.trainer(str(tmp_path), max_steps=0).validate(tiny.tuner(), datamodule=data, verbose=False)
    with pytest.raises(ConfigError, match="data.batch_size is 13"):
        tiny.trainer(str(tmp_path)).fit(tiny.tuner(), datamodule=data)


def test_weights_that_a_plugin_casts_to_16_bits_are_warned_about(tmp_path):
    language_model = tiny.llama()
    language_model.model.float()
    trainer = tiny.trainer(str(tmp_path), precision="bf16-true", max_steps=1, max_epochs=-1, limit_val_batches=0)
    with pytest.warns(UserWarning, match="kept in 16 bits.*bf16-mixed"):
        trainer.fit(tiny.tuner(language_model), datamodule=tiny.data())
