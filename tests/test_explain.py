"""The verb ``explain`` and its callback, on a run whose edits are lost."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_run import write_run

from callbacks import AttributionCallback, EditRetentionCallback, KnowledgeEdit
from edit_lit.attribution.file import FILE, read_attribution
from edit_lit.cli import main
from edit_lit.deltas import Delta, Dense, WeightPart
from edit_lit.editors import FTM, TargetTraining
from edit_lit.fine_tuner import FineTuner
from edit_lit.measures.outcome_files import FOLDER
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import Rule
from edit_lit.reports.causes import causes_markdown
from edit_lit.reports.run import Run
from edit_lit.reports.run_record import RunRecord, State

pytestmark = tiny.ROUGH_EDITS

EDITOR = {"class_path": "FTM", "init_args": {"layers": [1], "training": {"lr": 0.05, "epochs": 20}}}
HARSH = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.05}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of the command line that lost edits, explained by its callback at its end."""
    folder = tmp_path_factory.mktemp("explained")
    (folder / "corpus.txt").write_text("\n".join(tiny.TEXT))
    path = write_run(folder, str(folder / "corpus.txt"))
    config = yaml.safe_load(path.read_text())
    config["edit"] = {"editor": EDITOR, "cache_dir": str(folder / "cache")}
    config["model"] |= {"tuning": "FullTuning", "optimizer": HARSH}
    config["trainer"]["max_steps"] = 6
    config["attribution"] = {"enabled": True}
    path.write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(path)])
    return folder / "runs" / "tiny" / "version_0"


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def refused(run, capsys, *options):
    with pytest.raises(SystemExit) as error:
        main(["explain", str(run), *options])
    assert error.value.code == 2
    return str(error.value)


def test_the_verb_finds_what_the_callback_found_when_the_run_ended(finished, run, capsys):
    at_end = read_attribution(finished)
    (run / FILE).unlink()
    (run / "report" / "causes.md").unlink()
    main(["explain", str(run), "--layers", "1"])
    later = read_attribution(run)
    assert later.edits == at_end.edits != []
    assert later.step == 6
    assert later.off_records < 1e-9
    assert later.layer_shares
    assert not at_end.layer_shares
    assert set(later.trained) == {"written", "below", "above", "outside"}
    transitions = Run.read(run).transitions(Pool.EDITED, Rule.EXACT)[6]
    assert len(later.edits) == transitions.erased
    assert later.took == transitions.baseline_successes
    shown = capsys.readouterr().out
    assert f"{transitions.erased} of {later.took} edits that took are lost at step 6 (exact)" in shown
    assert "Which layers?" in shown
    assert (run / "report" / "causes.md").read_text() == causes_markdown(later)


def test_no_lost_edit_is_said_and_no_mistake(run, capsys):
    shutil.copyfile(run / FOLDER / "step_000000000.parquet", run / FOLDER / "step_000000006.parquet")
    main(["explain", str(run)])
    assert "0 of " in (shown := capsys.readouterr().out)
    assert "so there is nothing to explain" in shown
    assert read_attribution(run).edits == []


def test_what_is_missing_is_named_with_the_way_to_get_it(run, capsys):
    shutil.move(run / FOLDER / "step_000000006.parquet", run / "aside")
    assert "asked nothing at step 6" in (line := refused(run, capsys))
    assert "fit --resume" in line
    shutil.move(run / "aside", run / FOLDER / "step_000000006.parquet")
    shutil.move(run / FOLDER / "step_000000000.parquet", run / "aside")
    assert "no probe from right after the edit" in refused(run, capsys)
    shutil.copyfile(run / FOLDER / "before_edit.parquet", run / FOLDER / "step_000000000.parquet")
    assert "none could be lost. Make an edit that takes" in refused(run, capsys)
    shutil.move(run / "aside", run / FOLDER / "step_000000000.parquet")
    shutil.move(run / "checkpoints" / "last.ckpt", run / "aside")
    assert "has no checkpoints/last.ckpt" in (line := refused(run, capsys))
    assert "Run it to its end" in line
    shutil.move(run / "aside", run / "checkpoints" / "last.ckpt")
    shutil.move(run / "edits" / "delta.safetensors", run / "aside")
    assert "edit_lit edit --config" in refused(run, capsys)
    shutil.move(run / "aside", run / "edits" / "delta.safetensors")
    shutil.move(run / FOLDER, run / "aside")
    assert "never probed" in refused(run, capsys)
    (run / "run.json").unlink()
    assert "holds no probe records" in refused(run, capsys)


def test_wrong_options_are_refused_in_one_line(run, capsys):
    assert "--device is 'tpu9'" in refused(run, capsys, "--device", "tpu9")
    assert "--layers is -1; it must be at least 0" in refused(run, capsys, "--layers", "-1")
    assert "no probe records" in refused(run.parent, capsys)


def test_parts_of_another_run_are_told_apart(run, capsys):
    path = run / "edits" / "delta.safetensors"
    delta = Delta.load(path)
    other = {name: Dense(update.dense() * 1.1) for name, update in delta.updates.items()}
    path.unlink()  # a link to the cache
    Delta([WeightPart(other)], delta.provenance).save(path)
    assert "was trained on another edit" in refused(run, capsys)
    path.unlink()
    delta.save(path)
    config = yaml.safe_load((run / "config.yaml").read_text())
    facts = Path(config["data"]["edits"]["init_args"]["path"])
    stored = json.loads(facts.read_text())
    own = run / "edits.json"
    own.write_text(json.dumps([{**stored[0], "target_new": "elsewhere"}, *stored[1:]]))
    config["data"]["edits"]["init_args"]["path"] = str(own)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert "is of other facts than data.edits yields now" in refused(run, capsys)
    own.write_text(json.dumps(stored))
    stored_checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    for tensor in stored_checkpoint["state_dict"].values():
        tensor.mul_(1.5)
    torch.save(stored_checkpoint, run / "checkpoints" / "last.ckpt")
    assert "off the run's records" in refused(run, capsys)


def test_runs_that_lost_no_edit_of_theirs_are_refused(run, capsys):
    record = RunRecord.read(run)
    changes = ({"diverged_at": 4, "state": State.DIVERGED}, {"control": {"editor": None, "layers": []}})
    lines = []
    for change in changes:
        RunRecord([replace(record.last, **change)]).write(run)
        lines.append(refused(run, capsys))
    assert "diverged at step 4" in lines[0]
    assert "a control that edited nothing" in lines[1]


def fitted(folder, callbacks, resume=None, **options):
    language_model = tiny.llama()
    optimizer = lambda parameters: torch.optim.AdamW(parameters, lr=0.05)  # noqa: E731
    module = FineTuner(language_model, optimizer=optimizer)
    edit = KnowledgeEdit(FTM([1], TargetTraining(lr=0.05, epochs=20)), cache_dir=str(folder.parent / "cache"))
    watch = [edit, EditRetentionCallback(every_n_steps=3), *callbacks]
    trainer = tiny.trainer(str(folder), watch, **options)
    trainer.fit(module, datamodule=tiny.data(), ckpt_path=resume)
    return module


@pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning")
def test_a_resumed_run_is_explained_from_its_own_edit_and_looking_changes_nothing(tmp_path):
    plain = fitted(tmp_path / "plain", [])
    whole = fitted(tmp_path / "whole", [AttributionCallback(enabled=True)])
    for first, second in zip(plain.parameters(), whole.parameters(), strict=True):
        assert torch.equal(first, second)
        assert first.requires_grad == second.requires_grad
    fitted(tmp_path / "half", [], max_epochs=1, enable_checkpointing=True)
    (checkpoint,) = (tmp_path / "half").rglob("*.ckpt")
    fitted(tmp_path / "rest", [AttributionCallback(enabled=True)], resume=str(checkpoint), enable_checkpointing=True)
    found = read_attribution(tmp_path / "whole")
    assert found.edits
    assert read_attribution(tmp_path / "rest").edits == found.edits
    assert not (tmp_path / "plain" / FILE).exists()


def test_a_fit_that_cannot_be_explained_is_whole_and_says_why(tmp_path, caplog):
    trainer = tiny.trainer(str(tmp_path), [EditRetentionCallback(), AttributionCallback(enabled=True)], max_epochs=1)
    trainer.fit(tiny.tuner(), datamodule=tiny.data())
    assert trainer.state.finished
    assert "the lost edits are not explained: " in caplog.text
    assert "a control that edited nothing" in caplog.text
    assert not (tmp_path / FILE).exists()


def test_the_causes_are_on_the_run_s_page_and_a_figure_of_its_log(finished):
    log = EventAccumulator(str(finished), size_guidance={"images": 0}).Reload()
    assert any("causes" in tag for tag in log.Tags()["images"])
    assert "Why edits were lost" in (finished / "report" / "report.html").read_text()
