"""Retention as something that early stopping and checkpoints monitor."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
import tiny
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks import EditRetentionCallback, KnowledgeEdit

TAG = "edit/target_prob"
STEPWISE = {"val_check_interval": 1, "check_val_every_n_epoch": None}

pytestmark = tiny.ROUGH_EDITS


@pytest.fixture(scope="module")
def deltas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deltas")
    (folder / "corpus.txt").write_text("\n".join(tiny.TEXT * 3))
    return folder


def fit(deltas, folder, *monitors, every=1, first=(), resume=None, **options):
    edit = KnowledgeEdit(tiny.memit(str(deltas / "corpus.txt"), str(deltas)), cache_dir=str(deltas / "cache"))
    watch = EditRetentionCallback(every_n_steps=every)
    trainer = tiny.trainer(str(folder), [*first, edit, watch, *monitors], enable_checkpointing=True, **options)
    trainer.fit(tiny.tuner(), datamodule=tiny.data(), ckpt_path=resume)
    return trainer, watch.retention.points


@pytest.fixture(scope="module")
def curve(deltas, tmp_path_factory):
    """The monitored value by step, of a run that nothing stops."""
    saver = ModelCheckpoint(dirpath=tmp_path_factory.mktemp("saved"))
    _, points = fit(deltas, tmp_path_factory.mktemp("run"), saver)
    return {step: point[TAG] for step, point in points.items()}


class Seen(Callback):
    """What a monitor would find, by the hook in which it looks and the step."""

    def __init__(self):
        self.found = {}

    def note(self, trainer, hook):
        if not trainer.sanity_checking:
            value = trainer.callback_metrics.get(TAG)
            self.found[hook, trainer.global_step] = None if value is None else float(value)

    def on_validation_end(self, trainer, pl_module):
        self.note(trainer, "validation")

    def on_train_epoch_end(self, trainer, pl_module):
        self.note(trainer, "epoch")


@pytest.mark.parametrize("listed", ["first", "last"])
def test_after_each_validation_the_value_of_that_step_is_there(deltas, curve, tmp_path, listed):
    seen = Seen()
    places = {"first": [seen]} if listed == "first" else {}
    fit(deltas, tmp_path, *([seen] if listed == "last" else []), **places, **STEPWISE)
    found = {step: value for (hook, step), value in seen.found.items() if hook == "validation"}
    assert found == pytest.approx({step: value for step, value in curve.items() if step > 0}, rel=1e-6)


def test_between_probes_the_last_value_is_there_and_at_first_the_baseline(deltas, curve, tmp_path):
    seen = Seen()
    fit(deltas, tmp_path, seen, every=4, **STEPWISE)
    found = {step: value for (hook, step), value in seen.found.items() if hook == "validation"}
    # The last step is known to be the last, so that it is probed although it is not due.
    expected = [curve[0]] * 3 + [curve[4]] * 2 + [curve[6]]
    assert [found[step] for step in range(1, 7)] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("patience", [1, 2])
@pytest.mark.parametrize("mode", ["max", "min"])
def test_early_stopping_stops_where_the_curve_says(deltas, curve, tmp_path, mode, patience):
    sign = 1 if mode == "max" else -1
    best, bad, expected = -torch.inf, 0, 6
    for step in range(1, 7):
        bad = 0 if sign * curve[step] > best else bad + 1
        best = max(best, sign * curve[step])
        if bad == patience:
            expected = step
            break
    stopper = EarlyStopping(TAG, mode=mode, patience=patience)
    trainer, _ = fit(deltas, tmp_path, stopper, **STEPWISE)
    assert trainer.global_step == expected


def test_early_stopping_looks_after_an_epoch_too(deltas, curve, tmp_path):
    # With the default validation, behind every epoch, this is when it looks; here there is none at all.
    stopper = EarlyStopping(TAG, mode="max", stopping_threshold=curve[3] - 1e-6)
    trainer, _ = fit(deltas, tmp_path, first=[stopper], limit_val_batches=0)
    assert trainer.global_step == 3


@pytest.mark.parametrize("trigger", [{"every_n_train_steps": 1}, {}], ids=["steps", "validations"])
def test_the_best_checkpoint_is_the_one_with_the_best_retention(deltas, curve, tmp_path, trigger):
    saver = ModelCheckpoint(dirpath=tmp_path / "saved", monitor=TAG, mode="min", filename="{step}", **trigger)
    fit(deltas, tmp_path, first=[saver], **STEPWISE)
    step, value = min(((step, value) for step, value in curve.items() if step), key=lambda item: item[1])
    assert Path(saver.best_model_path).stem == f"step={step}"
    assert float(saver.best_model_score) == pytest.approx(value, rel=1e-6)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used to create:UserWarning")
def test_a_resumed_run_knows_the_value_before_its_first_probe(deltas, curve, tmp_path):
    saver = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=4)
    fit(deltas, tmp_path / "first", saver, every=4, max_steps=4)
    (checkpoint,) = (tmp_path / "saved").iterdir()
    seen, stopper = Seen(), EarlyStopping(TAG, patience=100)
    fit(deltas, tmp_path / "second", seen, stopper, every=4, resume=str(checkpoint), **STEPWISE)
    found = {step: value for (hook, step), value in seen.found.items() if hook == "validation" and step > 4}
    assert found == pytest.approx({5: curve[4], 6: curve[6]}, rel=1e-6)


def test_loggers_get_each_point_once_and_under_its_step(deltas, curve, tmp_path):
    board = TensorBoardLogger(str(tmp_path), name="n")
    table = CSVLogger(str(tmp_path), name="t")
    fit(deltas, tmp_path, every=2, logger=[board, table], log_every_n_steps=1, **STEPWISE)
    events = EventAccumulator(board.log_dir).Reload()
    assert [event.step for event in events.Scalars(TAG)] == [0, 2, 4, 6]
    assert [event.value for event in events.Scalars(TAG)] == pytest.approx([curve[s] for s in (0, 2, 4, 6)], rel=1e-6)
    with open(Path(table.log_dir) / "metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row[TAG]]
    assert Counter(int(row["step"]) for row in rows) == dict.fromkeys((0, 2, 4, 6), 1)
