"""``erase`` on runs of the command line: the table is what the models answer, and the folder holds the erased one."""

from __future__ import annotations

import json
import shutil

import damage
import pytest
import tiny
import torch
import yaml
from tiny_run import write_run

from edit_lit.cli import main
from edit_lit.cli.finished_run import FinishedRun
from edit_lit.facts.request import fact_hash
from edit_lit.language_model import LanguageModel
from edit_lit.measures.outcome_files import FOLDER, read_probes
from edit_lit.measures.outcomes import Kind, Pool
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import Rule, edit_scores, success
from edit_lit.recoverability.file import read_recoverability
from edit_lit.recoverability.result import Evidence

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
    return refused_by(["erase", *words])


def refused_by(words) -> str:
    with pytest.raises(SystemExit) as ended:
        main(words)
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


def test_the_erased_model_is_tested_for_hidden_edits_beside_the_run_s_own_files(run, tmp_path, capsys):
    copy, elsewhere = shutil.copytree(run, tmp_path / "copy"), tmp_path / "elsewhere"
    main(["erase", str(copy), "--eraser", "Unwrite"])
    main(["erase", str(copy), "--eraser", "Unwrite", "--weights", "false", "--output", str(elsewhere)])
    out, before = copy / "erased" / "unwrite", {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    capsys.readouterr()
    main(["recover", str(copy), "--erased", str(out), "--steps", "1"])
    assert "Tested is the model erased by Unwrite" in capsys.readouterr().out
    result, finished = read_recoverability(out), FinishedRun.load(copy)
    assert (result.model, result.step) == ("the model erased by Unwrite", finished.step)
    # The model of the folder, loaded as anyone would, is another way to the same numbers.
    plain = LanguageModel(str(out / "model"), dtype="float64")
    answers = Probe(finished.requests, plain.tokenizer).run(plain).of_kind(Kind.REWRITE)
    probes = read_probes(copy / FOLDER)[Pool.EDITED]
    unedited, edited, *_, tuned = (probes[step].of_kind(Kind.REWRITE) for step in sorted(probes))
    right = [success(rows, Rule.EXACT) == 1 for rows in (unedited, edited, tuned, answers)]
    lost = (~right[0] & right[1] & right[2] & ~right[3]).nonzero()[:, 0].tolist()
    assert lost
    assert [edit.fact for edit in result.edits] == [fact_hash(finished.requests[place]) for place in lost]
    for place, edit in zip(lost, result.edits, strict=True):
        trace = edit.finding(Evidence.TRACE)
        assert trace.value == pytest.approx(float(unedited.nll[place, 0] - answers.nll[place, 0]), rel=1e-6, abs=1e-9)
    assert "# Are the lost edits gone or hidden?" in (out / "report" / "recoverability.md").read_text()
    assert {path for path in copy.rglob("*") if out not in path.parents} == {p for p in before if out not in p.parents}
    assert all(path.stat().st_mtime_ns == then for path, then in before.items() if path.is_file())
    erased = ["recover", str(copy), "--erased"]
    assert "holds no erasure.json" in refused_by([*erased, str(tmp_path)])
    assert "holds the table alone" in refused_by([*erased, str(elsewhere)])
    moved = shutil.copytree(out, tmp_path / "moved")
    assert "which was made of" in refused_by(["recover", str(run), "--erased", str(moved)])
    about = json.loads((moved / "erasure.json").read_text())
    (moved / "erasure.json").write_text(json.dumps({**about, "step": 3}))
    assert "made at step 3, but the run is at step 4" in refused_by([*erased, str(moved)])
    (moved / "erasure.json").write_text(json.dumps(about))
    damage.truncate(moved / "model" / "model.safetensors", 500)
    assert "is no whole model" in refused_by([*erased, str(moved)])


@pytest.mark.parametrize(
    "words",
    [["Unlearn", "--eraser.loss", "sim_npo"], ["FineTuneEdited", "--eraser.within_keys", "true"]],
    ids=lambda words: words[0],
)
def test_erasers_by_training_take_a_task_and_change_the_edited_matrices_alone(run, words, tmp_path, capsys):
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(f"the bus goes to {subject} and it is late" for subject in tiny.SUBJECTS))
    task = {"path": str(texts), "across": "true", "val_documents": "1", "block_tokens": "16"}
    options = [word for name, value in task.items() for word in (f"--eraser.task.{name}", value)]
    common = ["--eraser.steps", "2", "--eraser.task", "RunningText", *options, "--output", str(tmp_path / "out")]
    main(["erase", str(run), "--eraser", *words, *common])
    assert f"{words[0]} t" in (tmp_path / "out" / "erasure.md").read_text()
    changes = numbers(tmp_path / "out")
    assert {name.split(", ")[1] for name, _ in changes if name.startswith("‖change")} == WRITTEN
    assert all(changes[f"‖change‖/‖W‖, {name}", "erased"] > 0 for name in WRITTEN)
    assert "eraser.task" in refused([str(run), "--eraser", words[0], "--output", str(tmp_path / "no")])


def test_help_names_the_erasers(capsys):
    main(["erase", "--help"])
    said = capsys.readouterr().out
    assert "--output" in said
    assert all(name in said for name in ("Undo", "Unwrite", "Spectral", "Unlearn", "FineTuneEdited"))
