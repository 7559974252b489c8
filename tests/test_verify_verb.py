"""``verify`` on saved models: what it says is what the model answers, and pipelines can go by its exit status."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pytest
import tiny
import torch
import yaml
from peft import LoraConfig, get_peft_model

from edit_lit.cli import main
from edit_lit.cli.verify import verify_parser
from edit_lit.deltas import Delta
from edit_lit.editors import LocFTBF
from edit_lit.editors.gradient.training import TargetTraining
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.spans import answer_rows

pytestmark = tiny.ROUGH_EDITS
WANTED = {"edited": {"exact": ">= .9"}, "specificity": {"exact": ">= 0"}, "intrinsic": {"prob": ">= 0"}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model, its facts, and an edit of them that takes."""
    folder = tmp_path_factory.mktemp("verify")
    language_model = tiny.llama()
    language_model.model.save_pretrained(folder / "model")
    language_model.tokenizer.save_pretrained(folder / "model")
    for name, of_name in (("edits", tiny.requests(4)), ("others", tiny.requests(8)[4:])):
        (folder / f"{name}.json").write_text(json.dumps([asdict(request) for request in of_name]))
    loaded = LanguageModel(str(folder / "model"), dtype="float64")
    LocFTBF(layers=[1, 2], training=TargetTraining(epochs=100, lr=0.02)).edit(loaded, tiny.requests(4)).save(
        folder / "delta.safetensors"
    )
    return folder


def config(made, folder, demands=WANTED, **options):
    content = {
        "language_model": {"path": str(made / "model"), "dtype": "float64"},
        "edited": {"class_path": "JsonFacts", "init_args": {"path": str(made / "edits.json")}},
        "intrinsic": {"class_path": "JsonFacts", "init_args": {"path": str(made / "others.json")}},
        "output": str(folder / "out"),
        "demands": demands,
        **options,
    }
    path = folder / "verify.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in content.items() if value is not None}))
    return str(path)


def status(*words) -> int:
    """The exit status."""
    try:
        main(["verify", *words])
    except SystemExit as ended:
        return int(str(getattr(ended, "code", 0)))
    return 0


def result(folder):
    content = json.loads((folder / "out" / "verification.json").read_text())
    return content, {(item["group"], item["measure"]): item for item in content["demands"]}


def says(language_model, prompt, answer) -> bool:
    """Whether every token of an answer is the likeliest one, a forward pass for each."""
    (row,) = answer_rows(language_model.tokenizer, [(prompt, answer)], ["test"])
    ids = list(row.ids)
    with torch.no_grad():
        return all(
            int(language_model.model(torch.tensor([ids[: place + 1]])).logits[0, -1].argmax()) == token
            for place, token in zip(row.positions, row.answer, strict=True)
        )


def test_an_unedited_model_falls_short_and_the_edited_one_holds(made, tmp_path):
    path = config(made, tmp_path)
    assert status("--config", path) == 1
    assert result(tmp_path)[0]["verdict"] == "falls short"
    assert status("--config", path, "--delta", str(made / "delta.safetensors")) == 0
    content, demands = result(tmp_path)
    assert content["verdict"] == "holds"
    model = LanguageModel(str(made / "model"), dtype="float64")
    Delta.load(made / "delta.safetensors").apply(model)
    requests = tiny.requests(4)
    held = [says(model, request.question, request.target_new) for request in requests]
    assert demands["edited", "exact"]["share"] == sum(held) / len(held)
    kept = [[says(model, q.prompt, q.answer) for q in request.neighborhood] for request in requests]
    expected = sum(sum(of_fact) / len(of_fact) for of_fact in kept) / len(kept)
    assert demands["specificity", "exact"]["share"] == pytest.approx(expected)
    failing = [fact["id"] for fact in demands["specificity", "exact"]["failing"]]
    assert failing == [request.id for request, of_fact in zip(requests, kept, strict=True) if not all(of_fact)]


def tag_of(case):
    return case[0].tag if len(case) else ""


def test_junit_has_a_case_for_each_demand(made, tmp_path):
    demands = {"edited": {"exact": ">= .9", "prob": ">= 0"}, "portability": {"exact": ">= 0"}}
    assert status("--config", config(made, tmp_path, demands, intrinsic=None)) == 2, "nobody asks for portability"
    suite = ElementTree.parse(tmp_path / "out" / "junit.xml").getroot()
    assert {name: suite.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
    }
    failed, passed, unknown = (case for tag in ("failure", "", "error") for case in suite if tag == tag_of(case))
    assert failed.get("name") == "edited exact >= 90 %"
    assert "subject 'Oslo'" in failed[0].text
    assert passed.get("name") == "edited prob >= 0 %"
    assert "none of the facts has such a question" in unknown[0].get("message")


def test_what_was_verified_is_the_next_ones_baseline(made, tmp_path):
    assert status("--config", config(made, tmp_path), "--delta", str(made / "delta.safetensors")) == 0
    (tmp_path / "out").rename(tmp_path / "first")
    demands = {"edited": {"retention": ">= .98"}}
    path = config(made, tmp_path, demands, intrinsic=None, baseline=str(tmp_path / "first"))
    assert status("--config", path, "--delta", str(made / "delta.safetensors")) == 0
    assert result(tmp_path)[1]["edited", "retention"]["share"] == 1
    assert status("--config", path) == 1
    item = result(tmp_path)[1]["edited", "retention"]
    model = LanguageModel(str(made / "model"), dtype="float64")
    still = [says(model, request.question, request.target_new) for request in tiny.requests(4)]
    assert item["share"] == sum(still) / len(still)


def test_erased_facts_are_those_that_are_no_longer_said(made, tmp_path):
    source = {"class_path": "JsonFacts", "init_args": {"path": str(made / "edits.json")}}
    demands = {"erased": {"exact": "<= .3"}}
    path = config(made, tmp_path, demands, edited=None, intrinsic=None, erased=source)
    assert status("--config", path) == 0
    assert status("--config", path, "--delta", str(made / "delta.safetensors")) == 1
    item = result(tmp_path)[1]["erased", "exact"]
    assert {fact["answer"] for fact in item["failing"]} <= {request.target_new for request in tiny.requests(4)}
    assert len(item["failing"]) == item["share"] * item["facts"]


def test_facts_about_edited_subjects_are_no_control(made, tmp_path):
    everything = [asdict(request) for request in tiny.requests(8)]
    (tmp_path / "all.json").write_text(json.dumps(everything))
    source = {"class_path": "JsonFacts", "init_args": {"path": str(tmp_path / "all.json")}}
    assert (
        status("--config", config(made, tmp_path, {"intrinsic": {"exact": "<= 1"}}, edited=None, intrinsic=source)) == 0
    )
    assert result(tmp_path)[1]["intrinsic", "exact"]["facts"] == 8
    demands = {"intrinsic": {"exact": "<= 1"}, "edited": {"exact": ">= 0"}}
    assert status("--config", config(made, tmp_path, demands, intrinsic=source)) == 0
    assert result(tmp_path)[1]["intrinsic", "exact"]["facts"] == 4


def test_an_adapter_is_worn(made, tmp_path):
    model = LanguageModel(str(made / "model"), dtype="float64")
    torch.manual_seed(0)
    adapted = get_peft_model(model.model, LoraConfig(r=2, target_modules=["down_proj"], init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    model.model = adapted
    held = [says(model, request.question, request.target_new) for request in tiny.requests(4)]
    assert status("--config", config(made, tmp_path), "--adapter", str(tmp_path / "adapter")) in (0, 1)
    assert result(tmp_path)[1]["edited", "exact"]["share"] == sum(held) / len(held)


@pytest.mark.parametrize(
    ("demands", "options", "words", "message"),
    [
        ({"edited": {"exakt": ">= .9"}}, {}, [], "exakt"),
        ({"edited": {"exact": 0.9}}, {}, [], "demands.edited.exact is 0.9"),
        ({"edited": {"exact": ">= .9"}}, {"by": "lower"}, [], "by is 'lower'"),
        ({"edited": {"retention": ">= .9"}}, {}, [], "baseline is not given"),
        ({"edited": {"retention": ">= .9"}}, {"baseline": "nowhere"}, [], "nowhere"),
        ({"edited": {"exact": ">= .9"}}, {}, ["--adapter", "nowhere"], "holds no adapter_config.json"),
        ({"edited": {"exact": ">= .9"}}, {}, ["--delta", "nowhere.safetensors"], "nowhere.safetensors"),
        ({"edited": {"exact": ">= .9"}}, {}, ["--device", "abacus"], "--device is 'abacus'"),
        ({"edited": {"exact": ">= .9"}}, {"language_model": {"path": "./nowhere"}}, [], "nowhere"),
        ({"edited": {"exact": ">= .9"}}, {"edits": 1}, [], "edits is no option"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_asked(made, tmp_path, demands, options, words, message, capsys):
    path = config(made, tmp_path, demands, intrinsic=None, **options)
    with pytest.raises(SystemExit) as ended:
        main(["verify", "--config", path, *words])
    assert ended.value.code == 2
    assert message in str(ended.value)
    assert len(str(ended.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_files_do_not_overwrite_their_baseline(made, tmp_path):
    demands = {"edited": {"retention": ">= .9"}}
    path = config(made, tmp_path, demands, intrinsic=None)
    assert status("--config", config(made, tmp_path), "--delta", str(made / "delta.safetensors")) == 0
    path = config(made, tmp_path, demands, intrinsic=None, baseline=str(tmp_path / "out"))
    before = (tmp_path / "out" / "verification.json").read_bytes()
    assert status("--config", path) == 2
    assert (tmp_path / "out" / "verification.json").read_bytes() == before


def test_an_edit_of_another_model_is_refused(made, tmp_path):
    other = tiny.llama(seed=1)
    other.model.save_pretrained(tmp_path / "other")
    other.tokenizer.save_pretrained(tmp_path / "other")
    language_model = {"path": str(tmp_path / "other"), "dtype": "float64"}
    path = config(made, tmp_path, language_model=language_model)
    assert status("--config", path, "--delta", str(made / "delta.safetensors")) == 2
    assert not (tmp_path / "out").exists()


def test_the_shipped_file_is_understood():
    path = Path(__file__).parent.parent / "configs" / "verify.yaml"
    options = verify_parser("").parse_args(["--config", str(path), "--delta", "edit.safetensors"])
    assert options.demands.intrinsic.exact == ">= .95"


def test_help_says_what_a_demand_is(capsys):
    main(["verify", "--help"])
    said = capsys.readouterr().out
    assert "--demands.edited" in said
    assert "--baseline" in said
