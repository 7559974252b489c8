"""The command line goes on with a run that was stopped, in its folder, wherever that is by now."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
import tiny
import torch
import yaml
from faults.killed_run import end_of, run_of, write_config

from callbacks import EditRetentionCallback
from edit_lit.cli import main
from edit_lit.editors.base import editor
from edit_lit.measures.outcome_files import FOLDER, read_probes
from edit_lit.run_folder import hold, new_run_folder
from edit_lit.utilities.log_files import whole_rows
from edit_lit.utilities.run_files import LAST, METRICS

pytestmark = [*tiny.ROUGH_EDITS, pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning")]

STEPS = "--trainer.max_steps"


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What a run of eight steps ends in that nobody stopped."""
    config = write_config(tmp_path_factory.mktemp("alone"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(config.parent / "cache"))
        main(["fit", "--config", str(config), STEPS, "8"])
    return end_of(run_of(config))


@pytest.fixture
def signal_at(monkeypatch):
    """Sends this process a signal, or several, while a step is trained."""

    def arrange(step: int, *signals: int) -> None:
        ask = EditRetentionCallback.on_train_batch_end

        def ask_and_send(self, trainer, *args):
            if trainer.global_step == step:
                for signum in signals:
                    signal.raise_signal(signum)
            ask(self, trainer, *args)

        monkeypatch.setattr(EditRetentionCallback, "on_train_batch_end", ask_and_send)

    return arrange


def refused(args, capsys) -> str:
    with pytest.raises(SystemExit) as exit_:
        main(args)
    assert str(exit_.value).startswith("error: ")
    return str(exit_.value)


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_how_to_go_on_and_does_from_anywhere(
    signum, status, alone, signal_at, tmp_path, capsys, caplog, monkeypatch
):
    config, moved = write_config(tmp_path), tmp_path / "elsewhere" / "moved"
    # A shell may have started the tests with SIGINT ignored.
    handler = signal.getsignal(signum)
    signal_at(5, signum)
    with pytest.raises(SystemExit) as exit_:
        main(["fit", "--config", str(config), STEPS, "8"])
    assert exit_.value.code == status
    assert "Did the edits survive? killed/version_0" in capsys.readouterr().out
    assert f"resume with: python -m edit_lit fit --resume {run_of(config)}" in caplog.text
    assert signal.getsignal(signum) is handler
    # Neither the cache, nor the code that made the edit, nor the place is what it was.
    shutil.rmtree(tmp_path / "cache")
    monkeypatch.setattr(editor, "code_hash", lambda cls: "changed")
    moved.parent.mkdir()
    run_of(config).rename(moved)
    monkeypatch.chdir(tmp_path)
    main(["fit", "--resume", "elsewhere/moved"])
    end = end_of(moved)
    assert {name for name in alone if end[name] != alone[name]} <= {"table"}  # which has the run's name
    assert not run_of(config).exists()


def test_a_second_interrupt_stops_at_once(signal_at, tmp_path, caplog):
    config = write_config(tmp_path)
    signal_at(5, signal.SIGINT, signal.SIGINT)
    with pytest.raises(SystemExit) as exit_:
        main(["fit", "--config", str(config)])
    assert exit_.value.code == 130
    assert "behind step 3, where it is kept" in caplog.text
    assert read_probes(run_of(config) / FOLDER)
    assert not (run_of(config) / "checkpoints" / "finished.json").exists()


def test_an_interrupted_edit_leaves_nothing(tmp_path, caplog, monkeypatch):
    config = write_config(tmp_path)
    monkeypatch.setattr("edit_lit.editors.memit.MEMIT.prepare", lambda *args: signal.raise_signal(signal.SIGINT))
    with pytest.raises(SystemExit) as exit_:
        main(["fit", "--config", str(config)])
    assert exit_.value.code == 130
    assert "nothing is kept of this run" in caplog.text
    assert not run_of(config).exists()


def test_a_finished_run_is_reported_and_can_be_prolonged(alone, tmp_path, capsys):
    config = write_config(tmp_path)
    main(["fit", "--config", str(config), STEPS, "7"])
    files = {path: path.read_bytes() for path in run_of(config).rglob("*") if path.is_file()}
    capsys.readouterr()
    for again in (["--resume", str(run_of(config))], ["--config", str(config), "--ckpt_path", "last", STEPS, "7"]):
        with pytest.raises(SystemExit) as exit_:
            main(["fit", *again])
        assert not exit_.value.code
        assert "Did the edits survive? killed/version_0" in capsys.readouterr().out
    trained = [path for path in files if path.parent.name != "report"]
    assert all(path.read_bytes() == files[path] for path in trained)
    main(["fit", "--config", str(config), "--ckpt_path", "last", STEPS, "8"])
    end = end_of(run_of(config))
    for name in ("weights", "optimizer", "random states"):
        assert end[name] == alone[name]
    assert [path.name for path in (tmp_path / "runs" / "killed").iterdir()] == ["version_0"]


def test_a_checkpoint_is_validated_with_the_edit_of_its_run(tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path)
    main(["fit", "--config", str(config), STEPS, "5"])
    header, *rows = whole_rows(run_of(config) / METRICS)
    column = header.index("downstream/val_loss")
    (loss,) = (float(row[column]) for row in rows if row[header.index("step")] == "5" and row[column])
    shutil.rmtree(tmp_path / "cache")
    monkeypatch.setattr(editor, "code_hash", lambda cls: "changed")
    for which in (["--ckpt_path", str(run_of(config) / "checkpoints" / "last.ckpt")], ["--ckpt_path", "last"]):
        capsys.readouterr()
        main(["validate", "--config", str(config), *which])
        printed = capsys.readouterr().out
        assert f"{loss:.4f}" in printed
        assert printed.count("val_loss") == 1


def test_a_run_that_diverged_is_gone_on_with_from_before_that(tmp_path, capsys, caplog):
    config = write_config(tmp_path)
    steps = ["--checkpoint.every_n_steps", "1", "--trainer.log_every_n_steps", "3"]
    never = ["--retention.early", "false", "--trainer.val_check_interval", "18", "--trainer.num_sanity_val_steps", "0"]
    huge = ["--model.optimizer", "torch.optim.SGD", "--model.optimizer.init_args.lr", "1e150"]
    for args in (["--config", str(config), *steps, *never, *huge], ["--resume", str(run_of(config))]):
        caplog.clear()
        with pytest.raises(SystemExit) as exit_:
            main(["fit", *args])
        assert exit_.value.code == 1
        assert caplog.text.count("so training stops") == 1
        kept = torch.load(run_of(config) / LAST, weights_only=True)
        assert kept["diverged_at"] is None
        assert kept["global_step"] == 1


def test_what_cannot_be_gone_on_with_is_refused_in_one_line(tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path)
    main(["fit", "--config", str(config), STEPS, "4"])
    run = str(run_of(config))
    assert "there is no run in" in refused(["fit", "--resume", str(tmp_path / "runs")], capsys)
    assert "model.optimizer.init_args.lr is 3.0, but the run in" in refused(
        ["fit", "--resume", run, "--model.optimizer.init_args.lr", "3"], capsys
    )
    assert "there is no such file" in refused(["fit", "--config", str(config), "--ckpt_path", "nowhere.ckpt"], capsys)
    with hold(run_of(config)):
        monkeypatch.setattr("edit_lit.run_folder._PATIENCE", 0.1)
        assert "still going on" in refused(["fit", "--resume", run, STEPS, "6"], capsys)
    checkpoint = run_of(config) / "checkpoints" / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert "is no whole checkpoint" in refused(["fit", "--resume", run, STEPS, "6"], capsys)
    assert [path.name for path in (tmp_path / "runs" / "killed").iterdir()] == ["version_0"]


def test_paths_of_a_run_lead_from_where_it_was_started(tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path)
    config.write_text(config.read_text().replace(f"{tmp_path}/", "").replace("path: model", f"path: {tmp_path}/model"))
    monkeypatch.chdir(tmp_path)
    main(["fit", "--config", "config.yaml", STEPS, "4"])
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    run = os.path.relpath(run_of(config))
    assert f"The run was started in {tmp_path}" in refused(["fit", "--resume", run, STEPS, "6"], capsys)
    monkeypatch.chdir(tmp_path)
    main(["fit", "--resume", "runs/killed/version_0", STEPS, "6"])


def test_a_requeued_job_finds_its_own_run(alone, signal_at, tmp_path, caplog, monkeypatch):
    called = tmp_path / "called"
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {called}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    for name, value in {"NTASKS": "1", "JOB_ID": "4711", "JOB_NAME": "mine", "PROCID": "0", "LOCALID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    config = write_config(tmp_path / "job", devices=1)
    run = run_of(config).with_name("job_4711")
    signal_at(5, signal.SIGUSR1)
    with pytest.raises(SystemExit) as exit_:
        main(["fit", "--config", str(config), STEPS, "8"])
    assert exit_.value.code == 128 + signal.SIGUSR1
    assert called.read_text() == "requeue 4711\n"
    assert not list(tmp_path.rglob("hpc_ckpt*"))
    # Other runs of the name come between.
    (new_run_folder(run.parent.parent, "killed", "4712") / "config.yaml").write_text("{}")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    main(["fit", "--config", str(config), STEPS, "8"])
    assert {name for name in alone if end_of(run)[name] != alone[name]} <= {"table"}


def test_the_config_of_a_run_is_all_that_another_needs(tmp_path):
    config = write_config(tmp_path)
    main(["fit", "--config", str(config), STEPS, "2"])
    stored = yaml.safe_load((run_of(config) / "config.yaml").read_text())
    assert not {"ckpt_path", "resume", "weights_only"} & set(stored)
    main(
        ["edit", "--config", str(run_of(config) / "config.yaml"), "--output", str(Path(tmp_path, "delta.safetensors"))]
    )
