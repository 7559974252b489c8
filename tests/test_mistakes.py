"""What is a mistake and what is a bug, and what a message says that nobody has thought of."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
import yaml
from tiny_run import write_run

from edit_lit.cli import main
from edit_lit.cli.complaints import read_complaint
from edit_lit.cli.sentences import sentence
from edit_lit.cli.trial import trainer_mistakes, try_trainer
from edit_lit.editors import FTM
from edit_lit.utilities.config_files import check_config_file
from edit_lit.utilities.errors import ConfigError


class BrokenEditor(FTM):
    """An editor whose constructor has a bug, deep in a library."""

    def __init__(self) -> None:
        super().__init__()
        torch.zeros(2).reshape(3)


class RefusingEditor(FTM):
    """An editor that refuses its option."""

    def __init__(self, size: int = 0) -> None:
        super().__init__()
        raise ConfigError(f"size is {size}; give more.")


@pytest.fixture
def config(tmp_path, corpus):
    return str(write_run(tmp_path, corpus))


def fit_with(config, editor):
    main(["fit", "--config", config, "--edit.editor", json.dumps({"class_path": f"{__name__}.{editor}"})])


def test_a_bug_in_a_class_that_a_config_names_keeps_its_traceback(config):
    with pytest.raises((RuntimeError, ValueError), match="is invalid for input of size 2"):
        fit_with(config, "BrokenEditor")


def test_a_class_that_refuses_an_option_is_named_by_its_key(config):
    with pytest.raises(SystemExit, match="^error: edit.editor.size is 0; give more.$"):
        fit_with(config, "RefusingEditor")


def test_a_library_that_refuses_its_own_option_is_named_by_its_key(config, capsys):
    stopping = {"class_path": "EarlyStopping", "init_args": {"monitor": "x", "mode": "up"}}
    with pytest.raises(SystemExit, match="^error: trainer.callbacks.*got up") as exit_:
        main(["fit", "--config", config, "--trainer.callbacks", json.dumps([stopping])])
    assert exit_.value.code == 2


def test_an_unknown_message_of_the_parser_is_one_line():
    text = 'Parser key "model.tuning":\n  Something new:\n    that nobody\n    has seen'
    said = sentence(text, "fit", {}, [])
    assert said == "model.tuning is not usable: Something new: that nobody has seen"


def test_the_innermost_complaint_is_found():
    text = """Parser key "edit.editor":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'Editor'>, <class 'NoneType'>]
  Errors:
    - Problem with given class_path 'edit_lit.editors.MEMIT':
        Parser key "layers":
          Does not validate against any of the Union subtypes
          Subtypes: [list[int], <class 'NoneType'>]
          Errors:
            - Expected a <class 'list'>
            - Expected a <class 'NoneType'>
          Given value type: <class 'str'>
          Given value: all
    - Expected a <class 'NoneType'>
  Given value type: <class 'dict'>
  Given value: {'class_path': 'MEMIT'}"""
    found = read_complaint(text)
    assert (found.option, found.within, found.inside) == ("edit.editor.layers", "edit_lit.editors.MEMIT", ("layers",))
    assert found.value == "all"


def test_what_lightning_accepts_is_accepted():
    try_trainer({"max_steps": 4, "max_epochs": -1, "callbacks": 5, "strategy": {"class_path": "x"}, "barebones": False})
    with pytest.raises(KeyError), trainer_mistakes({}):
        raise KeyError("a bug")


@pytest.mark.parametrize("given", ["{name: x}", "{}"])
def test_a_mapping_may_stand_in_place_of_a_file(given):
    assert check_config_file(given) == yaml.safe_load(given)


def test_help_lists_the_projects_options_first(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["fit", "--help"])
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    options = (
        "--name",
        "--edit.editor",
        "--data.task",
        "--retention.every_n_steps",
        "--model.tuning",
        "--trainer.devices",
    )
    places = [shown.index(f"\n  {option} ") for option in options]
    assert places == sorted(places)


def test_bash_completes_verbs_and_options(tmp_path, capsys):
    main(["--completion", "bash"])
    script = capsys.readouterr().out
    ask = 'COMP_WORDS=(edit_lit fit --model.opt); COMP_CWORD=2; _edit_lit; echo "${COMPREPLY[@]}"'
    assert subprocess.run(["bash", "-c", script + ask], capture_output=True, text=True).stdout == "--model.optimizer\n"


def test_help_and_mistakes_in_the_verb_come_without_the_libraries():
    code = (
        "import sys; from edit_lit.cli import main\n"
        "for words in (['--help'], ['fitt']):\n"
        "    try: main(words)\n"
        "    except SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'lightning', 'transformers', 'yaml', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
