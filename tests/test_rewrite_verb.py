"""``rewrite`` on runs of the command line: the table is what the models answer, and the folder holds one of them."""

from __future__ import annotations

import json

import pytest
import tiny
import torch
import yaml
from test_erase_verb import WRITTEN, made

from edit_lit.cli import main
from edit_lit.cli.finished_run import FinishedRun
from edit_lit.language_model import LanguageModel
from edit_lit.measures.outcome_files import FOLDER, read_probes
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import Rule, edit_scores
from edit_lit.rewriters import EditAgain, Interpolate, RestoreValues, RestoreWrites
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.run_files import CONFIG

pytestmark = tiny.ROUGH_EDITS


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same run with full tuning, with LoRA, and with full tuning of the unedited model."""
    full = made(tmp_path_factory.mktemp("full"), "FullTuning")
    config = yaml.safe_load((full / CONFIG).read_text())
    folder = tmp_path_factory.mktemp("control")
    (folder / "control.yaml").write_text(yaml.safe_dump(config))
    main(
        [
            "fit",
            "--config",
            str(folder / "control.yaml"),
            "--edit.apply",
            "false",
            "--trainer.default_root_dir",
            str(folder / "runs"),
        ]
    )
    (control,) = (folder / "runs").glob("*/version_0")
    return {"full": full, "lora": made(tmp_path_factory.mktemp("lora"), "LoRA"), "control": control}


def numbers(folder):
    content = json.loads((folder / "rewriting.json").read_text())
    return {(item["quantity"], item["stage"]): item["value"] for item in content["numbers"]}


def refused(words) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["rewrite", *words])
    assert ended.value.code == 2
    assert len(str(ended.value).splitlines()) == 1
    return str(ended.value)


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_the_table_is_what_the_models_answer_and_the_folder_holds_the_rewritten_one(runs, kind, tmp_path, capsys):
    run, out = runs[kind], tmp_path / "out"
    main(["rewrite", str(run), "--weights", "RestoreWrites", "--output", str(out)])
    said = capsys.readouterr().out
    assert "What brings the edits back?" in said
    found, finished = numbers(out), FinishedRun.load(run)
    probes = read_probes(run / FOLDER)
    for stage, place in (("after the edit", 1), ("after fine-tuning", -1)):
        for pool, name in ((Pool.EDITED, "efficacy, the new object"), (Pool.INTRINSIC, "intrinsic facts")):
            recorded = probes[pool][sorted(probes[pool])[place]]
            assert found[f"{name} (exact)", stage] == pytest.approx(edit_scores(recorded, Rule.EXACT)["efficacy"])
    written = LanguageModel(str(out / "model"), dtype="float64")
    answers = Probe(finished.requests, written.tokenizer).run(written)
    assert found["efficacy, the new object (exact)", "writes restored"] == pytest.approx(
        edit_scores(answers, Rule.EXACT)["efficacy"]
    )
    tuned = finished.language_model.model
    tuned = tuned.merge_and_unload() if hasattr(tuned, "merge_and_unload") else tuned
    ours, theirs = ({name: one.detach() for name, one in m.named_parameters()} for m in (written.model, tuned))
    moved = {name for name, weight in theirs.items() if not torch.equal(weight, ours[name])}
    assert moved == WRITTEN, "one way's model, and not that of all ways together"
    content = json.loads((out / "rewriting.json").read_text())
    for name in WRITTEN:
        size = float((ours[name] - theirs[name]).norm() / theirs[name].norm())
        assert content["changes"]["RestoreWrites"][name] == pytest.approx(size)
    flat = [torch.cat([weights[name].flatten() for name in sorted(WRITTEN)]) for weights in (ours, theirs)]
    together = float((flat[0] - flat[1]).norm() / flat[1].norm())
    assert found["‖change‖/‖W‖ of what was changed", "writes restored"] == pytest.approx(together)
    assert ("efficacy, the new object (exact)", "edited again") in found
    assert (out / "rewriting.md").read_text().startswith("# What brings the edits back?")


def test_of_a_control_it_is_the_other_orders(runs, tmp_path, capsys):
    run, out = runs["control"], tmp_path / "out"
    main(["rewrite", str(run), "--weights", "EditAgain", "--output", str(out)])
    assert "Delta added" in capsys.readouterr().out
    found, finished = numbers(out), FinishedRun.load(run, control=True)
    model, requests = finished.language_model, finished.requests
    delta = FinishedRun.load(runs["full"]).states.delta
    before = {name: model.parameter(name).detach().clone() for name in WRITTEN}
    expected = {}
    with torch.no_grad():
        for name, update in delta.updates.items():
            model.parameter(name).add_(update.dense())
        expected["Delta added"] = Probe(requests, model.tokenizer).run(model)
        for name, weight in before.items():
            model.parameter(name).copy_(weight)
    finished.editor.edit(model, requests).apply(model)
    expected["edited afterwards"] = Probe(requests, model.tokenizer).run(model)
    for stage, outcomes in expected.items():
        for score, quantity in (("efficacy", "efficacy, the new object"), ("specificity", "specificity")):
            assert found[f"{quantity} (exact)", stage] == pytest.approx(edit_scores(outcomes, Rule.EXACT)[score])
    written = LanguageModel(str(out / "model"), dtype="float64")
    for name, parameter in written.model.named_parameters():
        torch.testing.assert_close(parameter, model.parameter(name), rtol=1e-12, atol=1e-12)
    content = json.loads((out / "rewriting.json").read_text())
    assert content["edited_first"] is False
    assert content["first_back"] == []


def test_a_way_that_cannot_act_is_noted_and_the_others_go_on(runs, tmp_path, monkeypatch):
    def refuse(self, *_):
        raise ConfigError("values are not for edits like this one")

    run, out = runs["full"], tmp_path / "out"
    monkeypatch.setattr(RestoreValues, "rewrite", refuse)
    main(["rewrite", str(run), "--output", str(out)])
    content = json.loads((out / "rewriting.json").read_text())
    assert content["refused"] == {"RestoreValues": "values are not for edits like this one"}
    assert set(content["did"]) == {"RestoreWrites", "EditAgain", "Interpolate"}
    assert "without RestoreValues: values are not" in (out / "rewriting.md").read_text()
    place = ["--output", str(tmp_path / "none")]
    assert "values are not for" in refused([str(run), "--weights", "RestoreValues", *place])
    for other in (RestoreWrites, EditAgain, Interpolate):
        monkeypatch.setattr(other, "setup", refuse)
    assert "values are not for" in refused([str(run), *place])
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_rewritten_is_named_and_nothing_is_written(runs, tmp_path):
    out = tmp_path / "out"
    place = ["--output", str(out)]
    said = refused([str(runs["full"]), "--weights", "AddDelta", *place])
    assert (
        "--weights is AddDelta, but of this run there are RestoreWrites, RestoreValues, EditAgain, Interpolate" in said
    )
    assert "--weights is RestoreWrites" in refused([str(runs["control"]), "--weights", "RestoreWrites", *place])
    assert "--paraphrases is 1, but the run edited nothing" in refused(
        [str(runs["control"]), "--paraphrases", "1", *place]
    )
    assert "--paraphrases is 9" in refused([str(runs["full"]), "--paraphrases", "9", *place])
    assert "Write" in refused([str(runs["full"]), "--weights", "Write", *place])
    assert "there is no run in" in refused([str(tmp_path), *place])
    assert f"--output is {runs['full']}" in refused([str(runs["full"]), "--output", str(runs["full"])])
    assert not out.exists()
    assert not (runs["full"] / "rewritten").exists()
