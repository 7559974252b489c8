"""A module that is fitted, validated or resumed more than once, and a model that two modules share."""

from __future__ import annotations

import logging

import pytest
import tiny
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from callbacks import KnowledgeEdit
from edit_lit.deltas import Delta
from edit_lit.fine_tuner import FineTuner
from edit_lit.tuning import FullTuning, LoRA
from edit_lit.utilities.errors import ConfigError

pytestmark = [
    *tiny.ROUGH_EDITS,
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used to create:UserWarning"),
]


@pytest.fixture
def edit(tmp_path, corpus):
    """Makes callbacks that edit, all with one cache."""
    return lambda: KnowledgeEdit(tiny.memit(corpus, str(tmp_path / "moments")), cache_dir=str(tmp_path / "deltas"))


@pytest.fixture
def saved(tmp_path, edit):
    """A run of six steps and its last checkpoint."""
    saver = ModelCheckpoint(tmp_path / "saved", "{step}", every_n_train_steps=3, save_top_k=-1)
    module = tiny.tuner(tuning=FullTuning("edited"))
    trainer = tiny.trainer(str(tmp_path), [edit(), saver], enable_checkpointing=True)
    trainer.fit(module, datamodule=tiny.data())
    return module, tmp_path / "saved" / "step=6.ckpt"


def weights(module):
    return {name: weight.detach().clone() for name, weight in module.language_model.model.named_parameters()}


class Start(Callback):
    """The weights at the first step of a fit, and whether the model is in training mode."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if not hasattr(self, "weights"):
            self.weights, self.training = weights(pl_module), pl_module.language_model.model.training


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name


@pytest.mark.filterwarnings("ignore:the model is edited already:UserWarning")
@pytest.mark.parametrize(
    ("tuning", "between", "trainers"),
    [
        (FullTuning, "nothing", "new"),
        (FullTuning, "validate", "same"),
        (FullTuning, "eval", "new without edit"),
        (lambda: LoRA(r=2), "nothing", "same"),
        (lambda: LoRA(r=2), "validate", "new"),
        (lambda: LoRA(r=2), "eval", "new"),
    ],
)
def test_a_second_fit_starts_where_the_first_ended(tmp_path, edit, tuning, between, trainers):
    module = tiny.tuner(tuning=tuning())
    trainer = tiny.trainer(str(tmp_path), [edit()], max_epochs=1)
    trainer.fit(module, datamodule=tiny.data())
    ended, start = weights(module), Start()
    if between == "validate":
        trainer.validate(module, datamodule=tiny.data(), verbose=False)
    if between == "eval":
        module.language_model.eval()
    if trainers == "same":
        trainer.fit_loop.max_epochs = 2
        trainer.callbacks.append(start)
    else:
        trainer = tiny.trainer(str(tmp_path), [*([edit()] if trainers == "new" else []), start], max_epochs=1)
    trainer.fit(module, datamodule=tiny.data())
    assert_same(start.weights, ended)
    assert start.training
    assert any(not torch.equal(weight, ended[name]) for name, weight in weights(module).items())


@pytest.mark.parametrize("callbacks", ["same", "new"])
@pytest.mark.filterwarnings("ignore:the model is edited already:UserWarning")
def test_a_fit_behind_a_validation_trains_as_one_without(tmp_path, edit, callbacks):
    first, alone = edit(), tiny.tuner()
    tiny.trainer(str(tmp_path), [edit()]).fit(alone, datamodule=tiny.data())
    module = tiny.tuner()
    tiny.trainer(str(tmp_path), [first]).validate(module, datamodule=tiny.data(), verbose=False)
    tiny.trainer(str(tmp_path), [first if callbacks == "same" else edit()]).fit(module, datamodule=tiny.data())
    assert_same(weights(module), weights(alone))


@pytest.mark.parametrize("tuning", [FullTuning, lambda: LoRA(r=2)])
def test_a_model_that_another_module_has_prepared_is_refused(tmp_path, edit, tuning):
    language_model = tiny.llama()
    module = tiny.tuner(language_model)
    tiny.trainer(str(tmp_path), [edit()]).validate(module, datamodule=tiny.data(), verbose=False)
    before = weights(module)
    for run in ("fit", "validate"):
        trainer = tiny.trainer(str(tmp_path), [edit()])
        with pytest.raises(ConfigError, match="prepared for training by another FineTuner.*load the model anew"):
            getattr(trainer, run)(tiny.tuner(language_model, tuning=tuning()), datamodule=tiny.data())
    assert_same(weights(module), before)


def test_a_model_that_wears_an_adapter_gets_no_second_one():
    language_model = tiny.llama()
    LoRA(r=2).apply(language_model, ())
    with pytest.raises(ConfigError, match="wears an adapter already"):
        LoRA(r=2).apply(language_model, ())


def test_a_checkpoint_is_validated_with_the_edit_of_its_run_however_that_is_handed_over(tmp_path, edit, saved):
    module, path = saved
    expected = tiny.trainer(str(tmp_path)).validate(module, datamodule=tiny.data(), verbose=False)
    delta = Delta.load(tmp_path / "edits" / "delta.safetensors")
    for made, given in ([edit()], None), ([], delta):
        fresh = tiny.tuner(tuning=FullTuning("edited"))
        if given is not None:
            fresh.take_edit(given)
        trainer = tiny.trainer(str(tmp_path), made)
        assert trainer.validate(fresh, datamodule=tiny.data(), ckpt_path=path, verbose=False) == expected
        assert_same(weights(fresh), weights(module))
    with pytest.raises(ConfigError, match="trained on another edit"):
        tiny.trainer(str(tmp_path)).validate(
            tiny.tuner(tuning=FullTuning("all")), datamodule=tiny.data(), ckpt_path=path
        )


def resumed(tmp_path, edit, path, tuning=None):
    module = tiny.tuner(tuning=tuning or FullTuning("edited"))
    trainer = tiny.trainer(str(tmp_path), [edit()], max_epochs=3)
    trainer.fit(module, datamodule=tiny.data(), ckpt_path=path)
    return module


def changed(path, change):
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)


@pytest.mark.parametrize("missing", ["edit", "random_states", "optimizer_states", "lr_schedulers", "loops"])
def test_a_checkpoint_that_lacks_something_is_refused_in_one_line(tmp_path, edit, saved, missing):
    _, path = saved
    changed(path, lambda checkpoint: checkpoint.pop(missing))
    with pytest.raises(ConfigError, match=f"holds no {missing}: it is not one of a FineTuner.*whole checkpoint"):
        resumed(tmp_path, edit, path)


def test_a_checkpoint_of_weights_alone_can_still_be_validated(tmp_path, edit, saved):
    module, path = saved
    changed(path, lambda checkpoint: [checkpoint.pop(key) for key in ("optimizer_states", "lr_schedulers", "loops")])
    fresh = tiny.tuner(tuning=FullTuning("edited"))
    tiny.trainer(str(tmp_path), [edit()]).validate(fresh, datamodule=tiny.data(), ckpt_path=path, verbose=False)
    assert_same(weights(fresh), weights(module))


def test_a_checkpoint_of_another_shape_is_refused(tmp_path, edit, saved):
    _, path = saved

    def shrink(checkpoint):
        name = next(name for name in checkpoint["state_dict"] if "up_proj" in name)
        checkpoint["state_dict"][name] = checkpoint["state_dict"][name][:-1].clone()

    changed(path, shrink)
    with pytest.raises(ConfigError, match=r"trained parameters are not this run's \(such as .*up_proj"):
        resumed(tmp_path, edit, path)


def test_random_states_of_another_number_of_processes_are_not_dropped_in_silence(tmp_path, edit, saved, caplog):
    _, path = saved
    changed(path, lambda checkpoint: checkpoint.update(random_states=checkpoint["random_states"] * 2))
    with caplog.at_level(logging.INFO, "edit_lit"):
        module = resumed(tmp_path, edit, path)
    assert caplog.text.count("the checkpoint is of 2 processes and this run has 1, so it draws other random") == 1
    assert isinstance(module, FineTuner)
