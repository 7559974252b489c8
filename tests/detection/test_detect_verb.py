"""``detect`` on saved models: tables, files, exit status, and one line for each mistake."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import tiny
import torch
import yaml

from edit_lit.cli import main
from edit_lit.cli.detect import option_names
from edit_lit.facts.request import EditRequest
from edit_lit.language_model.module_tree import projection_weight


def saved(language_model, folder):
    language_model.model.save_pretrained(folder)
    language_model.tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A release, an edited model, three unedited ones, and facts."""
    folder = tmp_path_factory.mktemp("detect")
    saved(tiny.llama(), folder / "release")
    for seed in range(3):
        language_model = tiny.llama()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in language_model.model.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        saved(language_model, folder / f"unedited_{seed}")
    language_model = tiny.llama()
    with torch.no_grad():
        weight = projection_weight(language_model.output_projection(2))
        weight.add_(10 * torch.outer(torch.ones(16), torch.linspace(-1, 1, 24)))
    saved(language_model, folder / "model")
    saved(tiny.llama(layers=2), folder / "other")
    others = [
        EditRequest(
            f"place {number}", "{} lies in the", "north", "south", paraphrases=("The side of {} is",), id=str(number)
        )
        for number in range(60)
    ]
    for name, requests in (("facts", tiny.requests(4)), ("reference", others)):
        (folder / f"{name}.json").write_text(json.dumps([asdict(request) for request in requests]))
    return folder


def config(made, folder, **options):
    def source(name):
        return {"class_path": "JsonFacts", "init_args": {"path": str(made / f"{name}.json")}}

    content = {
        "language_model": {"path": str(made / "model"), "dtype": "float64"},
        "facts": source("facts"),
        "reference": source("reference"),
        "release": str(made / "release"),
        "unedited": [str(made / f"unedited_{seed}") for seed in range(3)],
        "output": str(folder / "out"),
        **options,
    }
    path = folder / "detect.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_tables_and_files_say_what_was_found(made, tmp_path, capsys):
    main(["detect", "--config", config(made, tmp_path, edited=config_of_facts(made), alarm_rate=0.25)])
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "detection.json").read_text())
    weights, difference, prompts = found["weights"], found["difference"], found["prompts"]
    assert (weights["verdict"], weights["most"], weights["p"]) == ("looks edited", 2, 0.25)
    assert difference["changed"] == [2]
    assert difference["changed_elsewhere"] == []
    assert prompts["questioned"]["look_edited"] == sum(fact["looks_edited"] for fact in prompts["questioned"]["of"])
    assert prompts["held_out"]["number"] == 20
    assert prompts["edited"]["number"] == 4
    page = (tmp_path / "out" / "detection.md").read_text()
    for text in (
        "looks edited: layer 2 stands out most",
        "0 of 3 unedited models [0%, 56%]",
        "differ from the release: 2",
    ):
        assert text in said
        assert text in page
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["detection.json", "detection.md"]


def config_of_facts(made):
    return {"class_path": "JsonFacts", "init_args": {"path": str(made / "facts.json")}}


def test_a_folder_alone_is_looked_at_without_a_verdict(made, tmp_path, capsys):
    main(["detect", str(made / "model"), "--output", str(tmp_path / "out")])
    assert "not calibrated: layer 2 stands out most" in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "detection.json").read_text())
    assert found["weights"]["verdict"] == "not calibrated"
    assert found["difference"] is found["prompts"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"release": "other"}, "release .*other has 2 layers"),
        ({"release": "nowhere"}, "nowhere"),
        ({"unedited": ["unedited_0", "other"]}, "other"),
        ({"unedited": ["unedited_0", "unedited_0"]}, "twice"),
        ({"unedited": ["model"]}, "the model that is looked at"),
        ({"alarm_rate": 0.01}, "takes 99 in each"),
        ({"alarm_rate": 2}, "alarm_rate is 2"),
        ({"unknown": 2}, "unknown is no option"),
        ({"language_model": {"path": "facts.json"}}, "facts.json"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_computed(made, tmp_path, options, message):
    def placed(value):
        return str(made / value) if isinstance(value, str) else value

    options = {
        name: [placed(each) for each in value] if isinstance(value, list) else placed(value)
        for name, value in options.items()
    }
    if isinstance(options.get("language_model"), dict):
        options["language_model"] = {"path": str(made / "facts.json")}
    with pytest.raises(SystemExit, match=message) as ended:
        main(["detect", "--config", config(made, tmp_path, **options)])
    assert ended.value.code == 2
    assert len(str(ended.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_help_names_the_options(capsys):
    main(["detect", "--help"])
    said = capsys.readouterr().out
    for name in ("release", "unedited", "alarm_rate", "reference"):
        assert f"--{name}" in said
        assert name in option_names()
