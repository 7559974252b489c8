"""What the documents show is true: Python runs, commands name options that exist, and YAML is understood."""

from __future__ import annotations

import re
import shlex
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from edit_lit.cli import _parser, main
from edit_lit.cli.detect import detect_parser
from edit_lit.cli.erase import erase_parser
from edit_lit.cli.lightning_cli import EditCLI
from edit_lit.cli.resolving import OptionReader
from edit_lit.cli.verify import verify_parser
from edit_lit.data_module import EditDataModule
from edit_lit.fine_tuner import FineTuner
from edit_lit.records import HubText
from edit_lit.sweeps.sweep_file import SweepFile
from edit_lit.sweeps.trials import expand
from edit_lit.world import MODEL_FOLDER, WorldCorpus

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "configs/README.md",
        *(ROOT / "docs").rglob("*.md"),
    )
)
# The model of the examples is on the hub; the embedded one stands in for it.
SMALLER = {"openai-community/gpt2-xl": str(MODEL_FOLDER), "[13, 14, 15, 16, 17]": "[1, 2, 3]"}


def blocks(document: Path, language: str) -> list[str]:
    """The fenced blocks of a language; none of those that include a whole file, which has its own test."""
    found = re.findall(r"^```([^\n]*)\n(.*?)^```$", (ROOT / document).read_text(), flags=re.MULTILINE | re.DOTALL)
    return [block for opening, block in found if re.fullmatch(language, opening) and "--8<--" not in block]


WITH_PYTHON = [path for path in DOCUMENTS if blocks(path, "python")]


def commands(verbs: str) -> set[tuple[str, str]]:
    """The verb and the arguments of each command with one of some verbs."""
    pattern = rf"^(?:\w+=\S+ )?python -m edit_lit ({verbs}) ((?:.*\\\n)*.*)"
    return {
        (verb, " ".join(arguments.replace("\\\n", " ").split()))
        for document in DOCUMENTS
        for block in blocks(document, "(?:bash)?")
        for verb, arguments in re.findall(pattern, block, re.MULTILINE)
    }


COMMANDS = {arguments for _, arguments in commands("fit|validate|cycles")}
ERASE = {arguments for _, arguments in commands("erase")}
OTHERS = commands("sweep|report|explain|recover|rewrite|merge")
YAML = [(path, block) for path in DOCUMENTS for block in blocks(path, "yaml")]


class ParsedOnly(EditCLI):
    def instantiate_classes(self):
        """Models of the hub are not for tests."""


def parsed(arguments):
    return ParsedOnly(
        FineTuner, EditDataModule, args=arguments, run=False, seed_everything_default=0, auto_configure_optimizers=False
    ).config


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A folder with the run that the documents speak of, made shorter."""
    folder = tmp_path_factory.mktemp("documents")
    short = "--data.edits.limit 4 --data.intrinsic null --data.task.n_val 12 --retention.every_n_steps 2"
    quiet = "--trainer.max_steps 4 --trainer.accelerator cpu --trainer.enable_progress_bar false"
    place = f"--trainer.default_root_dir {folder / 'runs'} --edit.cache_dir {folder / 'cache'}"
    main(["fit", "--config", str(ROOT / "configs/quickstart.yaml"), *f"{short} {quiet} {place}".split()])
    return folder


@pytest.mark.parametrize("document", WITH_PYTHON, ids=str)
def test_python_in_a_document_runs(document, run_folder, monkeypatch):
    monkeypatch.chdir(run_folder)
    monkeypatch.setattr(HubText, "documents", lambda self: WorldCorpus(limit=150).documents())
    monkeypatch.setattr(HubText, "check", lambda self: None)
    names: dict[str, object] = {}
    for block in blocks(document, "python"):
        for large, small in SMALLER.items():
            block = block.replace(large, small)
        exec(compile(block, str(document), "exec"), names)


def test_documents_have_python_commands_and_yaml():
    assert len(WITH_PYTHON) >= 4
    assert len(COMMANDS) >= 8
    assert len(ERASE) >= 3
    assert {verb for verb, _ in OTHERS} >= {"sweep", "report", "explain", "recover", "rewrite"}
    assert len(YAML) >= 3


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_command_names_options_that_exist(command):
    arguments = [part for part in shlex.split(command) if part != "…"]
    configs = [value for name, value in pairwise(arguments) if name == "--config"]
    if "--resume" in arguments or not all((ROOT / path).exists() for path in configs):
        # The reader's own files, and the config of a reader's run; the quickstart's stand in for them.
        kept = [part for part in arguments if part != "--config" and part not in configs]
        arguments = ["--config", "configs/quickstart.yaml", *kept]
    parsed(without_checkpoint(arguments))


@pytest.mark.parametrize("command", sorted(ERASE))
def test_a_command_that_erases_names_options_that_exist(command):
    assert erase_parser("").parse_args(shlex.split(command)).eraser is not None


@pytest.mark.parametrize(("verb", "arguments"), sorted(OTHERS))
def test_a_command_of_another_verb_names_options_that_exist(verb, arguments):
    assert _parser().parse_args([verb, *shlex.split(arguments, comments=True)]).verb == verb


def without_checkpoint(arguments):
    """`--ckpt_path` belongs to the verb, which is left out here."""
    if "--ckpt_path" not in arguments:
        return arguments
    place = arguments.index("--ckpt_path")
    return arguments[:place] + arguments[place + 2 :]


@pytest.mark.parametrize(("document", "block"), YAML, ids=lambda value: str(value) if isinstance(value, Path) else "")
def test_yaml_is_understood(document, block, tmp_path):
    content = yaml.safe_load(block)
    if "axes" in content:
        understood_as_sweep(block, tmp_path)
        return
    path = tmp_path / "shown.yaml"
    path.write_text(block)
    if "demands" in content:
        assert verify_parser("").parse_args(["--config", str(path)]).demands.edited is not None
        return
    if "reference" in content:
        words = ["--language_model", "WorldModel", "--config", str(path)]
        assert detect_parser("").parse_args(words).reference is not None
        return
    whole = {"model", "data"} <= set(content)
    under = [] if whole else ["--config", "configs/quickstart.yaml"]
    config = parsed([*under, "--config", str(path)])
    for section, options in content.items():
        for name in options if isinstance(options, dict) else ():
            assert getattr(config, section)[name] is not None, f"{document}: {section}.{name}"


def understood_as_sweep(block, folder):
    """Read every trial of a sweep file that would lie in configs/sweeps/."""
    for path in (ROOT / "configs").iterdir():
        if path.name != "sweeps":
            (folder / path.name).symlink_to(path)
    (folder / "sweeps").mkdir()
    path = folder / "sweeps" / "shown.yaml"
    path.write_text(block)
    reader = OptionReader()
    for trial in expand(SweepFile.read(path)).trials:
        reader.read(trial.parts)


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
