"""``recover`` on runs of the command line: what it loads is the run, and what it cannot use it names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny
import torch
import yaml
from tiny_run import write_run

from edit_lit.cli import main
from edit_lit.cli.finished_run import FinishedRun
from edit_lit.measures.outcome_files import FOLDER, read_probes
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.probe import Probe
from edit_lit.recoverability.file import FILE, read_recoverability
from edit_lit.utilities.run_files import LAST

pytestmark = tiny.ROUGH_EDITS

EDITOR = {"class_path": "FTM", "init_args": {"layers": [1, 2], "training": {"epochs": 15, "lr": 0.02}}}
LOSE = {"class_path": "torch.optim.SGD", "init_args": {"lr": 20.0}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run whose edits take and are then trained away, and its control."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "corpus.txt").write_text("it is late")
    path = write_run(folder, str(folder / "corpus.txt"))
    config = yaml.safe_load(path.read_text())
    config["edit"] = {"editor": EDITOR, "cache_dir": str(folder / "cache")}
    config["model"] |= {"optimizer": LOSE}
    config["tensorboard"] = False
    path.write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(path)])
    run, control = (folder / "runs" / name / "version_0" for name in ("tiny", "control"))
    # As one that was fitted with edit.apply false would be: the same options, other weights, and no edit.
    shutil.copytree(run, control)
    stored = torch.load(control / LAST, weights_only=True)
    stored |= {"edit": None, "state_dict": {name: weight / 2 for name, weight in stored["state_dict"].items()}}
    torch.save(stored, control / LAST)
    return run, control


@pytest.fixture
def run(runs, tmp_path):
    """A copy of the run, to be spoilt."""
    return shutil.copytree(runs[0], tmp_path / "copy")


def refused(words, capsys) -> str:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2
    return str(exit_.value)


def test_what_is_loaded_answers_as_the_run_did_in_each_state(runs):
    finished, probes = FinishedRun.load(runs[0]), read_probes(runs[0] / FOLDER)[Pool.EDITED]
    probe, steps = Probe(finished.requests, finished.language_model.tokenizer), sorted(probes)
    states = finished.states
    for step, enter in ((steps[0], states.unedited), (steps[1], states.edited), (steps[-1], states.tuned)):
        with enter():
            found = probe.run(finished.language_model)
        torch.testing.assert_close(found.nll, probes[step].nll, rtol=1e-9, atol=1e-9, equal_nan=True)
    assert finished.step == steps[-1] == 4


def test_the_verb_writes_tables_and_rows_beside_the_control(runs, run, capsys, caplog):
    main(["recover", str(run), "--steps", "1"])
    out = capsys.readouterr().out
    assert "Are the lost edits gone or hidden?" in out
    assert "The control is the unedited model, which was not fine-tuned." in out
    alone = read_recoverability(run)
    assert alone.edits
    main(["recover", str(run), "--steps", "1", "--control", str(runs[1])])
    both = read_recoverability(run)
    assert both.control == f"{runs[1]}, fine-tuned without the edit"
    assert [edit.fact for edit in both.edits] == [edit.fact for edit in alone.edits]
    values = [[finding.value for edit in result.edits for finding in edit.findings] for result in (alone, both)]
    assert values[0] == pytest.approx(values[1], rel=1e-9, abs=1e-9)
    controls = [[finding.control for edit in result.edits for finding in edit.findings] for result in (alone, both)]
    assert controls[0] != pytest.approx(controls[1], rel=1e-3)
    assert "# Are the lost edits gone or hidden?" in (run / "report" / "recoverability.md").read_text()


def test_a_run_that_lost_no_edit_says_so(run, caplog):
    for path in (run / FOLDER).glob("step_*.parquet"):
        shutil.copy(run / FOLDER / "step_000000000.parquet", path) if path.stem != "step_000000000" else None
    with caplog.at_level("INFO"):
        main(["recover", str(run)])
    assert "no edit is lost at step 4 by rule exact" in caplog.text
    assert not (run / FILE).exists()


def test_what_is_missing_or_of_another_run_is_named(runs, run, tmp_path, capsys):
    assert "there is no run in" in refused(["recover", str(tmp_path)], capsys)
    assert "--steps" not in refused(["recover", str(run), "--steps", "0"], capsys)
    assert "edited nothing" in refused(["recover", str(runs[1])], capsys)
    assert "--control is" in refused(["recover", str(run), "--control", str(runs[0])], capsys)
    config = (run / "config.yaml").read_text()
    facts = tmp_path / "facts.json"
    made = yaml.safe_load(config)["data"]["edits"]["init_args"]["path"]
    facts.write_text(json.dumps(json.loads(Path(made).read_text())[:-1]))
    (run / "config.yaml").write_text(config.replace(made, str(facts)))
    assert "is of other facts than data.edits yields now" in refused(["recover", str(run)], capsys)
    (run / "config.yaml").write_text(config)
    (run / FOLDER / "step_000000004.parquet").unlink()
    assert "was last probed at step 2, but its checkpoint is of step 4" in refused(["recover", str(run)], capsys)
    shutil.rmtree(run / FOLDER)
    assert "was never probed" in refused(["recover", str(run)], capsys)
    (run / "edits" / "delta.safetensors").unlink()
    assert "has no edits/delta.safetensors" in refused(["recover", str(run)], capsys)
    (run / "checkpoints" / "last.ckpt").unlink()
    assert "has no checkpoints/last.ckpt" in refused(["recover", str(run)], capsys)
