from __future__ import annotations

import json
import os
import shutil
import signal

import pytest
import tiny
from tiny_run import write_run

from callbacks import RunRecorder
from edit_lit.cli import main
from edit_lit.measures.outcome_files import FOLDER, read_probes
from edit_lit.measures.outcomes import Pool

pytestmark = tiny.ROUGH_EDITS


@pytest.fixture
def config(tmp_path, corpus):
    return str(write_run(tmp_path, corpus))


def answers(folder):
    return {
        (cycle, pool, step): outcomes
        for cycle in (0, 1)
        for pool, curve in read_probes(folder / f"cycle_00{cycle}" / FOLDER).items()
        for step, outcomes in curve.items()
    }


def state(folder):
    return json.loads((folder / "run.json").read_text())["state"]


def test_a_series_is_stopped_gone_on_with_and_reported(config, tmp_path, capsys, caplog, monkeypatch):
    options = ["--data.edits.limit", "2", "--tensorboard", "false"]
    stop = {"class_path": "EarlyStopping", "init_args": {"monitor": "downstream/val_loss", "stopping_threshold": 0.0}}
    options += ["--trainer.callbacks", json.dumps([stop])]
    main(["cycles", "--config", config, *options])
    whole, cut = (tmp_path / "runs" / "tiny" / f"version_{number}" for number in (0, 1))
    assert {path.name for path in whole.iterdir()} >= {"config.yaml", "cycles.json", "run.json", "report", "cycle_000"}
    inside = {path.name for path in (whole / "cycle_001").iterdir()}
    assert inside == {"run.json", "edits", FOLDER, "metrics.csv", "questions.parquet", "answers.parquet"}
    assert state(whole) == state(whole / "cycle_001") == "finished"
    shown = capsys.readouterr().out
    assert shown.count("What did fine-tuning leave") == 1
    assert "Did the edits survive?" not in shown
    edited = read_probes(whole / "cycle_001" / FOLDER)[Pool.EDITED]
    assert edited[0].request.unique().tolist() == [0]
    seeds = json.loads((whole / "cycle_001" / "run.json").read_text())["segments"][0]["seeds"]
    assert (seeds["seed_everything"], seeds["data.seed"]) == (1, 1)

    def interrupt(self, trainer, pl_module, batch, batch_idx):
        if trainer.folder.name == "cycle_001" and trainer.global_step == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(RunRecorder, "on_train_batch_start", interrupt, raising=False)
        with pytest.raises(SystemExit) as exit_:
            main(["cycles", "--config", config, *options])
    assert exit_.value.code == 130
    assert f"go on with: python -m edit_lit cycles --resume {cut}" in caplog.text
    assert (state(cut), state(cut / "cycle_000")) == ("interrupted", "finished")
    assert json.loads((cut / "cycle_001" / "run.json").read_text())["step"] == 2
    first = (cut / "cycle_000" / "run.json").read_text()
    main(["cycles", "--resume", str(cut)])
    assert (cut / "cycle_000" / "run.json").read_text() == first
    assert state(cut) == "finished"
    left_alone, gone_on = answers(whole), answers(cut)
    assert left_alone.keys() == gone_on.keys()
    assert all(outcomes.equals(gone_on[place]) for place, outcomes in left_alone.items())

    for refused, message in (
        (["cycles", "--resume", str(cut), "--retention.every_n_steps", "3"], "retention.every_n_steps is 3"),
        (["cycles", "--resume", str(cut), "--trainer.max_steps", "5"], "its trainer and its probes"),
        (["fit", "--resume", str(cut)], "is a series of cycles. Go on with it by the verb cycles"),
    ):
        with pytest.raises(SystemExit, match=message):
            main(refused)
    shutil.rmtree(cut / "cycle_001")
    main(["report", str(tmp_path / "runs" / "tiny")])
    assert "not run to their end: cycle 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--facts_per_cycle", "0"], "facts_per_cycle is 0"),
        (["--numbers", "[7]"], "numbers holds 7, but there are 4 cycles"),
        (["--data.edits", "null"], "cycles edit the facts of data.edits, of which there are none"),
        (["--edit.editor.layers", "[1, 9]"], "names layer 9"),
    ],
)
def test_a_mistake_ends_in_one_line_and_leaves_no_folder(config, tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=message) as exit_:
        main(["cycles", "--config", config, *arguments])
    assert exit_.value.code == 2
    assert not list((tmp_path / "runs").glob("tiny/*"))


def test_a_control_without_an_editor_is_told_the_remedy(config):
    tuning = ["--model.tuning", "FullTuning", "--model.tuning.layers", "edited"]
    with pytest.raises(SystemExit, match="edit.editor and set edit.apply to false"):
        main(["fit", "--config", config, *tuning, "--edit.editor", "null"])
