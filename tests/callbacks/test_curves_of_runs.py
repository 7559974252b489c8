"""Whose curve is it: fits that go on, callbacks that are shared, folders that are taken, runs that were moved."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import tiny
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar

from callbacks import EditRetentionCallback, KnowledgeEdit
from edit_lit.measures.curve import BEFORE_EDIT
from edit_lit.measures.outcome_files import FOLDER, read_probes
from edit_lit.measures.outcomes import Pool
from edit_lit.tuning import FullTuning, LoRA
from edit_lit.utilities.errors import ConfigError

pytestmark = [
    *tiny.ROUGH_EDITS,
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used to create:UserWarning"),
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    (folder / "corpus.txt").write_text("\n".join(tiny.TEXT * 3))
    return folder


def edit(cache):
    return KnowledgeEdit(tiny.memit(str(cache / "corpus.txt"), str(cache)), cache_dir=str(cache / "deltas"))


def fit(cache, folder, *callbacks, module=None, watch=None, resume=None, **options):
    watch = watch or EditRetentionCallback(every_n_steps=2)
    trainer = tiny.trainer(str(folder), [edit(cache), watch, *callbacks], **options)
    trainer.fit(module or tiny.tuner(), datamodule=tiny.data(), ckpt_path=resume)
    return watch.retention


def records(folder):
    return {path.name: path.read_bytes() for path in (Path(folder) / FOLDER).iterdir()}


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory):
    """The records and points of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    retention = fit(cache, folder)
    return records(folder), retention.points


def test_callbacks_that_two_trainers_share_keep_two_curves(cache, whole, tmp_path):
    watch = EditRetentionCallback(every_n_steps=2)
    first = fit(cache, tmp_path / "first", watch=watch)
    assert records(tmp_path / "first") == whole[0]
    second = fit(cache, tmp_path / "second", watch=watch, max_steps=4)
    assert records(tmp_path / "first") == whole[0]
    assert first.points == whole[1]
    assert list(read_probes(tmp_path / "second" / FOLDER)[Pool.EDITED]) == [BEFORE_EDIT, 0, 2, 4]
    assert list(second.points) == [0, 2, 4]


def test_the_same_trainer_goes_on_with_its_curve(cache, whole, tmp_path):
    watch, module, data = EditRetentionCallback(every_n_steps=2), tiny.tuner(), tiny.data()
    trainer = tiny.trainer(str(tmp_path), [edit(cache), watch], max_epochs=1)
    trainer.fit(module, datamodule=data)
    early = records(tmp_path)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, datamodule=data)
    assert list(watch.retention.points) == [0, 2, 3, 4, 6]
    assert records(tmp_path).items() >= early.items()


def test_a_module_that_is_fitted_again_gets_a_curve_of_its_own(cache, whole, tmp_path):
    module, watch = tiny.tuner(), EditRetentionCallback(every_n_steps=2)
    fit(cache, tmp_path / "first", module=module, watch=watch)
    with pytest.warns(UserWarning, match="edited already, so edit.editor makes no further edit"):
        again = fit(cache, tmp_path / "second", module=module, watch=watch, max_steps=2)
    assert records(tmp_path / "first") == whole[0]
    assert again.before == {}
    assert list(again.points) == [0, 2]
    assert again.baseline[Pool.EDITED].equals(read_probes(tmp_path / "first" / FOLDER)[Pool.EDITED][6])


def test_a_folder_with_anothers_records_is_refused(cache, whole, tmp_path):
    fit(cache, tmp_path)
    module = tiny.tuner()
    with pytest.raises(ConfigError, match="holds the records of another run"):
        fit(cache, tmp_path, module=module)
    assert module.trainer.global_step == 0
    assert records(tmp_path) == whole[0]


def test_a_run_resumed_from_a_moved_folder_has_its_whole_curve(cache, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saver = ModelCheckpoint(dirpath="first/checkpoints", every_n_train_steps=3, save_top_k=-1)
    fit(cache, "first", saver, max_steps=5, enable_checkpointing=True)
    (tmp_path / "elsewhere").mkdir()
    shutil.move("first", "elsewhere/moved")
    monkeypatch.chdir(tmp_path / "elsewhere")
    (checkpoint,) = Path("moved/checkpoints").iterdir()
    retention = fit(cache, tmp_path / "second", resume=str(checkpoint))
    assert records(tmp_path / "second") == whole[0]
    assert retention.points == whole[1]
    # In its own folder, in which there are records of steps that the checkpoint does not know.
    assert {"step_000000004.parquet", "step_000000005.parquet"} <= set(records("moved"))
    retention = fit(cache, tmp_path / "elsewhere" / "moved", resume=str(checkpoint))
    assert records("moved") == whole[0]
    assert retention.points == whole[1]


@pytest.mark.parametrize("tuning", [FullTuning(), LoRA(r=2)])
def test_a_model_that_was_validated_edited_is_asked_unedited_before_it_trains(cache, whole, tmp_path, tuning):
    module, data = tiny.tuner(tuning=tuning), tiny.data()
    tiny.trainer(str(tmp_path), [edit(cache)]).validate(module, datamodule=data, verbose=False)
    assert module.configured
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    watch = EditRetentionCallback(every_n_steps=2)
    trainer = tiny.trainer(str(tmp_path / "run"), [watch, Unchanged(weights)])
    trainer.fit(module, datamodule=data)
    made = records(tmp_path / "run")
    for name in ("before_edit.parquet", "step_000000000.parquet"):
        assert made[name] == whole[0][name]


class Unchanged(Callback):
    """Asserts that weights are as they were when a fit starts."""

    def __init__(self, weights):
        self.weights = weights

    def on_fit_start(self, trainer, pl_module):
        for name, tensor in pl_module.state_dict().items():
            assert torch.equal(tensor, self.weights[name]), name


class Bar(TQDMProgressBar):
    """What the bar shows after each step."""

    def __init__(self):
        super().__init__()
        self.shown = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.shown[trainer.global_step] = self.get_metrics(trainer, pl_module)

    def on_train_end(self, trainer, pl_module):
        super().on_train_end(trainer, pl_module)
        self.shown["end"] = self.get_metrics(trainer, pl_module)


@pytest.mark.parametrize("options", [{}, {"val_check_interval": 1, "check_val_every_n_epoch": None}])
def test_the_bar_shows_retention(cache, whole, tmp_path, options):
    bar = Bar()
    fit(cache, tmp_path, bar, enable_progress_bar=True, **options)
    points = {step: point["retention/edited/exact"] for step, point in whole[1].items()}
    shown = {step: metrics.get("retention") for step, metrics in bar.shown.items()}
    expected = {3: points[2], 4: points[2], 5: points[4], 6: points[4], "end": points[6]}
    assert {step: shown[step] for step in expected} == pytest.approx(expected)


class Broken(Callback):
    """Makes a word that the task does not use unreadable after a step."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 3:
            language_model = pl_module.language_model
            token = language_model.tokenizer.convert_tokens_to_ids("side")
            language_model.model.get_input_embeddings().weight.data[token] = math.nan


def test_a_monitor_stops_where_the_answers_are_no_numbers(cache, tmp_path):
    stopper = EarlyStopping("retention/edited/exact", mode="max", patience=100)
    saver = ModelCheckpoint(tmp_path / "saved", monitor="retention/edited/exact", mode="max", filename="{step}")
    module = tiny.tuner(tuning=LoRA(r=2))
    options = {"val_check_interval": 1, "check_val_every_n_epoch": None, "enable_checkpointing": True}
    retention = fit(cache, tmp_path, stopper, saver, Broken(), module=module, **options)
    assert retention.last_step == 4
    assert module.trainer.global_step == 4
    assert retention.latest["probe/edited/not_a_number"] > 0
    assert "retention/edited/exact" not in retention.latest
    assert "retention/erased/exact" not in retention.latest
    assert Path(saver.best_model_path).stem in {"step=1", "step=2", "step=3"}
