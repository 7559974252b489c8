"""``erase`` on runs of the command line: the table is what the models answer, and the folder holds the erased one."""

from __future__ import annotations

import json
import shutil

import pytest
import tiny
import torch
import yaml
from tiny_run import write_run

from edit_lit.cli import main
from edit_lit.cli.finished_run import FinishedRun
from edit_lit.language_model import LanguageModel
from edit_lit.measures.outcome_files import FOLDER, read_probes
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import Rule, edit_scores

pytestmark = [
    *tiny.ROUGH_EDITS,
    # In a model this small, few keys are many.
    pytest.mark.filterwarnings("ignore:Unwrite takes more than a quarter"),
]

EDITOR = {"class_path": "FTM", "init_args": {"layers": [1, 2], "training": {"epochs": 15, "lr": 0.02}}}
WRITTEN = {f"model.layers.{layer}.mlp.down_proj.weight" for layer in (1, 2)}
QUICK = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.003}}


def made(folder, tuning):
    """A run whose edits take and mostly stay."""
    (folder / "corpus.txt").write_text("it is late")
    path = write_run(folder, str(folder / "corpus.txt"))
    config = yaml.safe_load(path.read_text())
    config["edit"] = {"editor": EDITOR, "cache_dir": str(folder / "cache")}
    config["model"] |= {"tuning": tuning, "optimizer": QUICK}
    config["trainer"] |= {"val_check_interval": 2, "check_val_every_n_epoch": None}
    config["tensorboard"] = False
    path.write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(path)])
    return folder / "runs" / "tiny" / "version_0"


@pytest.fixture(scope="module", params=["FullTuning", "LoRA"])
def run(request, tmp_path_factory):
    return made(tmp_path_factory.mktemp(request.param), request.param)


def numbers(folder):
    content = json.loads((folder / "erasure.json").read_text())
    return {(item["quantity"], item["stage"]): item["value"] for item in content["numbers"]}


def refused(words) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["erase", *words])
    assert ended.value.code == 2
    assert len(str(ended.value).splitlines()) == 1
    return str(ended.value)


def test_the_table_is_what_the_models_answer_and_the_folder_holds_the_erased_one(run, tmp_path, capsys):
    out = tmp_path / "out"
    main(["erase", str(run), "--eraser", "Unwrite", "--output", str(out)])
    assert "Are the edits gone?" in capsys.readouterr().out
    found, finished = numbers(out), FinishedRun.load(run)
    probes = read_probes(run / FOLDER)
    for stage, place in (("before", 0), ("tuned", -1)):
        for pool, name in ((Pool.EDITED, "efficacy, the new object"), (Pool.INTRINSIC, "intrinsic facts")):
            recorded = probes[pool][sorted(probes[pool])[place]]
            assert found[f"{name} (exact)", stage] == pytest.approx(edit_scores(recorded, Rule.EXACT)["efficacy"])
    step, loss = finished.run.downstream["val_loss"][-1]
    assert step == finished.step
    assert found["downstream loss", "tuned"] == pytest.approx(loss, rel=1e-5)
    erased = LanguageModel(str(out / "model"), dtype="float64")
    answers = Probe(finished.requests, erased.tokenizer).run(erased)
    for name, quantity in (("efficacy", "efficacy, the new object"), ("specificity", "specificity")):
        assert found[f"{quantity} (exact)", "erased"] == pytest.approx(edit_scores(answers, Rule.EXACT)[name])
    tuned = finished.language_model.model
    tuned = tuned.merge_and_unload() if hasattr(tuned, "merge_and_unload") else tuned
    ours, theirs = ({name: one.detach() for name, one in m.named_parameters()} for m in (erased.model, tuned))
    assert {name for name, weight in theirs.items() if not torch.equal(weight, ours[name])} == WRITTEN
    for name in WRITTEN:
        size = float((ours[name] - theirs[name]).norm() / theirs[name].norm())
        assert found[f"‖change‖/‖W‖, {name}", "erased"] == pytest.approx(size)
    text = (out / "erasure.md").read_text()
    assert text.startswith("# Are the edits gone?")
    assert "| efficacy, the new object (exact) |" in text


def test_what_cannot_be_erased_or_is_missing_is_named_and_nothing_is_written(run, tmp_path, capsys):
    copy, out = shutil.copytree(run, tmp_path / "copy"), tmp_path / "out"
    place = ["--output", str(out)]
    said = refused([str(copy), "--eraser", "Undo", *place])
    assert "training has changed edited weights" in said
    assert "eraser.after_training" in said
    spectral = [str(copy), "--eraser", "Spectral", *place]
    assert "do not stand out" in refused([*spectral, "--eraser.layers", "[1]", "--eraser.least", "1000"])
    assert "layers" in refused(spectral)
    assert "Unwrite" in refused([str(copy), "--eraser", "Unwrit", *place])
    assert "eraser" in refused([str(copy), *place])
    assert "eraser.keys" in refused([str(copy), "--eraser", "Unwrite", "--eraser.keys", "then", *place])
    assert "token" in refused([str(copy), "--eraser", "Undo", "--rule", "token"])
    assert "there is no run in" in refused([str(tmp_path), "--eraser", "Undo", *place])
    assert f"--output is {run}" in refused([str(copy), "--eraser", "Undo", "--output", str(run)])
    (copy / "edits" / "delta.safetensors").unlink()
    assert "has no edits/delta.safetensors" in refused([str(copy), "--eraser", "Undo", *place])
    assert not out.exists()
    assert not (copy / "erased").exists()


def test_help_names_the_erasers(capsys):
    main(["erase", "--help"])
    said = capsys.readouterr().out
    assert "--output" in said
    assert "Unwrite" in said
