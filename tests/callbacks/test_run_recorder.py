from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import tiny
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from callbacks import EditRetentionCallback, KnowledgeEdit, RunRecorder, RunReport
from edit_lit.facts.request import requests_hash
from edit_lit.reports.run_record import FILE, RunRecord, State

pytestmark = tiny.ROUGH_EDITS


class At(Callback):
    """Does something after a step."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            self.act(pl_module)


def fail(error):
    def act(_):
        raise error

    return act


def fit(folder, callbacks=(), resume=None, retention=True, datamodule=None, **options):
    watch = [EditRetentionCallback(every_n_steps=2)] if retention else []
    trainer = tiny.trainer(str(folder), [*watch, RunRecorder(), RunReport(), *callbacks], **options)
    trainer.fit(tiny.tuner(), datamodule=datamodule or tiny.data(), ckpt_path=resume)
    return RunRecord.read(folder)


def test_a_finished_run_tells_what_it_was_made_with(tmp_path, monkeypatch, corpus):
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    monkeypatch.setattr("sys.argv", ["program", "fit", "--name", "a b"])
    edit = KnowledgeEdit(tiny.memit(corpus, str(tmp_path / "moments")), cache_dir=str(tmp_path / "deltas"))
    module = tiny.tuner()
    trainer = tiny.trainer(str(tmp_path), [edit, RunRecorder()])
    data = tiny.data()
    data.edits.seed = 4
    trainer.fit(module, datamodule=data)
    (segment,) = RunRecord.read(tmp_path).segments
    assert (segment.state, segment.step, segment.steps_planned, segment.start_step) == (State.FINISHED, 6, 6, 0)
    assert segment.command == ["program", "fit", "--name", "a b"]
    assert segment.seeds["seed_everything"] == 7
    assert segment.seeds["data.edits.seed"] == 4
    assert segment.hashes["edits"] == requests_hash(data.requests)
    assert segment.hashes["intrinsic"] == requests_hash(data.intrinsic_requests)
    assert segment.hashes["delta"] == module.delta.hash()
    assert segment.hashes["model"] == module.delta.provenance.model
    assert segment.hashes["task"]["train_examples"] == 12
    assert segment.devices == {"device": "cpu", "processes": 1, "nodes": 1}
    assert segment.precision == "32-true"
    assert segment.started <= segment.ended


def test_the_task_s_data_are_told_apart_by_content(tmp_path):
    class Shorter(tiny.Sides):
        def setup(self, tokenizer, requests):
            super().setup(tokenizer, requests)
            self._examples[3]["labels"] = [*self._examples[3]["labels"][:-1], 5]

    records = []
    for name, task in (("a", tiny.Sides), ("b", tiny.Sides), ("c", Shorter)):
        data = tiny.data()
        data.task = task()
        records.append(fit(tmp_path / name, datamodule=data, retention=False, max_steps=1).last.hashes["task"])
    assert records[0] == records[1]
    assert records[0]["train_sample"] != records[2]["train_sample"]
    assert records[0]["val_sample"] == records[2]["val_sample"]


@pytest.mark.parametrize(
    ("error", "raised", "state", "line"),
    [
        (KeyboardInterrupt(), SystemExit, State.INTERRUPTED, "KeyboardInterrupt"),
        (SIGTERMException(), SystemExit, State.INTERRUPTED, "SIGTERMException"),
        (ValueError("no such\nthing"), ValueError, State.FAILED, "ValueError: no such"),
    ],
)
def test_what_ended_a_run_is_recorded_and_the_rest_is_kept(tmp_path, capsys, error, raised, state, line):
    with pytest.raises(raised):
        fit(tmp_path, [At(3, fail(error))])
    last = RunRecord.read(tmp_path).last
    assert (last.state, last.step, last.steps_planned, last.error) == (state, 3, 6, line)
    shown = capsys.readouterr().out
    assert ("stopped at step 3 of 6 (interrupted); last probe at step 2" in shown) == (state is State.INTERRUPTED)
    assert (tmp_path / "report" / "table.md").exists() == (state is State.INTERRUPTED)


def test_a_run_that_is_killed_stays_running(tmp_path):
    seen = []
    fit(tmp_path, [At(3, lambda _: seen.append(json.loads((tmp_path / FILE).read_text())))], retention=False)
    assert (seen[0]["state"], seen[0]["step"], seen[0]["steps_planned"]) == ("running", 0, 6)


def test_a_divergence_is_recorded(tmp_path):
    def diverge(module):
        module.diverged_at = 4

    last = fit(tmp_path, [At(4, diverge)], retention=False).last
    assert (last.state, last.diverged_at, last.step) == (State.DIVERGED, 4, 6)


@pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning")
def test_a_resumed_run_adds_to_its_record(tmp_path):
    saver = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=4)
    with pytest.raises(ValueError, match="boom"):
        fit(tmp_path, [saver, At(5, fail(ValueError("boom")))], retention=False, enable_checkpointing=True)
    first = RunRecord.read(tmp_path)
    (checkpoint,) = (tmp_path / "saved").iterdir()
    saver = ModelCheckpoint(dirpath=tmp_path / "saved again", every_n_train_steps=4)
    record = fit(tmp_path, [saver], resume=str(checkpoint), retention=False, enable_checkpointing=True)
    assert asdict(record.segments[0]) == asdict(first.last)
    assert (record.last.start_step, record.last.step, record.last.state) == (4, 6, State.FINISHED)
    assert record.last.resumed_from == str(checkpoint)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used to create:UserWarning")
def test_a_resumed_run_with_nothing_left_to_train_is_finished(tmp_path):
    saver = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=6)
    fit(tmp_path, [saver], retention=False, enable_checkpointing=True)
    (checkpoint,) = (tmp_path / "saved").iterdir()
    record = fit(tmp_path / "again", resume=str(checkpoint), retention=False)
    assert (record.last.state, record.last.step) == (State.FINISHED, 6)


def test_what_fails_behind_the_training_does_not_undo_it(tmp_path):
    class Late(Callback):
        def on_fit_end(self, trainer, pl_module):
            raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        fit(tmp_path, [Late()], retention=False)
    last = RunRecord.read(tmp_path).last
    assert (last.state, last.error) == (State.FINISHED, "ValueError: no room")


def test_a_damaged_or_unwritable_record_costs_no_run(tmp_path, monkeypatch):
    (tmp_path / FILE).write_text("{")
    with pytest.warns(UserWarning, match="no record of a run .* It is begun anew"):
        assert fit(tmp_path, retention=False).last.state is State.FINISHED

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edit_lit.reports.run_record.write_json", full)
    with pytest.warns(UserWarning, match=r"run.json could not be written \(No space left on device\)"):
        fit(tmp_path / "full", retention=False)
    assert not Path(tmp_path / "full" / FILE).exists()
