"""The options of tasks and fact sources, which are written once in a base class, on the command line and in Python."""

from __future__ import annotations

import inspect
import re

import pytest
import yaml
from jsonargparse import ArgumentParser

import edit_lit.facts
import edit_lit.tasks
from edit_lit.facts import FactSource
from edit_lit.tasks import Alpaca, Columns, Plain, Task

BASES = {
    name: base
    for module, base in ((edit_lit.tasks, Task), (edit_lit.facts, FactSource))
    for name in module.__all__
    if issubclass(getattr(module, name), base) and getattr(module, name) is not base
}


def parser(base: type) -> ArgumentParser:
    made = ArgumentParser(exit_on_error=False)
    made.add_argument("--part", type=base)
    return made


def class_of(name: str) -> type:
    return getattr(edit_lit.tasks if BASES[name] is Task else edit_lit.facts, name)


def help_of(name: str, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The help text of each option, with its default."""
    with pytest.raises(SystemExit):
        parser(BASES[name]).parse_args(["--part.help", name])
    words = " ".join(capsys.readouterr().out.split("\n\n", 2)[2].split())
    found = re.split(r"--part\.(\w+) (?=[A-Z\[{])(?:\{.*?\}|\S+)(?:, --part\.\w+\+ \S+)? ", words)
    return dict(zip(found[1::2], found[2::2], strict=True))


@pytest.mark.parametrize("name", BASES)
def test_every_option_has_its_help_and_its_default(name, capsys):
    helps = help_of(name, capsys)
    parameters = inspect.signature(class_of(name)).parameters
    assert set(helps) >= set(parameters)
    for option, parameter in parameters.items():
        described, _, rest = helps[option].partition("(")
        assert len(described.split()) >= 2, f"{name}.{option} has no help text"
        assert "required" in rest if parameter.default is inspect.Parameter.empty else "default:" in rest


def test_inherited_options_keep_their_texts_and_a_subclass_may_change_them(capsys):
    columns, running_text = help_of("Columns", capsys), help_of("RunningText", capsys)
    assert columns["path"].startswith("A local file, a URL such as ``hf://datasets/owner/name/file.json``")
    assert columns["limit"].startswith(
        "Most training texts; all of them if not given. (type: int | null, default: null)"
    )
    assert columns["instruction"].startswith("Template of what is asked, such as ``Translate to German: {en}``.")
    assert "default: 0" in columns["seed"]
    assert columns["seed"] != running_text["seed"]
    assert running_text["seed"].startswith("Seed of the choice of validation documents; the order of training texts")
    assert help_of("ParaRel", capsys)["path"].startswith("The folder, or its URL, that holds")


@pytest.mark.parametrize("name", BASES)
def test_an_option_that_does_not_exist_is_refused(name, capsys):
    with pytest.raises(Exception, match="nonsense"):
        parser(BASES[name]).parse_args([f"--part={name}", "--part.nonsense=1"])
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        class_of(name)(nonsense=1)


def test_options_are_flat_in_yaml_and_a_written_config_gives_the_same_task(tmp_path):
    (tmp_path / "table.csv").write_text("en,de\ncat,Katze\n")
    options = {"path": str(tmp_path / "table.csv"), "instruction": "{en}", "output": "{de}", "limit": 3}
    tasks = parser(Task)
    written = tasks.dump(tasks.parse_object({"part": {"class_path": "Columns", "init_args": options}}))
    assert options.items() <= yaml.safe_load(written)["part"]["init_args"].items()
    (task,) = vars(tasks.instantiate(tasks.parse_string(written))).values()
    assert isinstance(task, Columns)
    assert {name: getattr(task, name) for name in options} == options
    assert (task.prompt, task.val_examples, task.seed) == (Plain(), 120, 0)


def test_a_subclass_overrides_a_default():
    defaults = {
        name: inspect.signature(class_of(name)).parameters["prompt"].default for name in ("Columns", "HotpotQa")
    }
    assert defaults == {"Columns": Plain(), "HotpotQa": Alpaca()}
