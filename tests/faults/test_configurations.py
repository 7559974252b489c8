"""Every wrong configuration ends in one line on stderr, with status 2, and leaves nothing on disk."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny
import torch
from faults.wrong_files import COMMAND_LINES, ELSEWHERE, OVERLAYS
from faults.wrong_options import OPTIONS
from tiny_run import write_run

from edit_lit.cli import main

pytestmark = [
    *tiny.ROUGH_EDITS,
    # What peft says of its own default, when its config is made from options.
    pytest.mark.filterwarnings("ignore:`loftq_config` specified but will be ignored:UserWarning"),
]

BAR = re.compile(r"\d+%\||\?it/s|\?, \?|examples \[")
"""A progress bar of the libraries, which is no line: it gives way to what follows."""

RIGHT = "fit --config {folder}/config.yaml "
COMMANDS = [*((RIGHT + given, *words) for given, *words in OPTIONS), *COMMAND_LINES]
REFUSED: list[str] = []


def damaged_models(folder: Path) -> None:
    for name in ("no_tokenizer", "no_weights", "torn_weights", "torn_config"):
        shutil.copytree(folder / "model", folder / name)
    for path in (folder / "no_tokenizer").glob("*token*"):
        path.unlink()
    (folder / "no_weights" / "model.safetensors").unlink()
    weights = folder / "torn_weights" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    (folder / "torn_config" / "config.json").write_text(json.dumps({"hidden_size": 16})[:-3])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A right configuration with its model and data, and files that are not what they should be."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "corpus.txt").write_text("\n".join(tiny.TEXT))
    write_run(folder, str(folder / "corpus.txt"))
    (folder / "empty").mkdir()
    for name in ("empty.yaml", "empty.json", "overlay.yaml"):
        (folder / name).write_text("")
    (folder / "overlay_alone.yaml").write_text("trainer: {max_steps: 4}")
    (folder / "binary").write_bytes(bytes(range(256)))
    torch.save({"weights": torch.zeros(2)}, folder / "foreign.ckpt")
    (folder / "torn.ckpt").write_bytes((folder / "foreign.ckpt").read_bytes()[:100])
    damaged_models(folder)
    return folder


def cases(table: Sequence[tuple[str, ...]]) -> list[object]:
    made = []
    for given, *words in table:
        why = ELSEWHERE.get(given.removeprefix(RIGHT))
        marks = [pytest.mark.xfail(reason=why, strict=False)] if why else []
        made.append(pytest.param(given, words, marks=marks, id=given.removeprefix(RIGHT)[:80] or "nothing"))
    return made


def on_disk(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.fixture
def refused(folder, monkeypatch, capsys):
    """Run a wrong command line, and check the line that it ends in."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def check(arguments: list[str], words: list[str], name: str) -> None:
        before = on_disk(folder)
        try:
            with pytest.raises(SystemExit) as exit_:
                main(arguments)
            said = [
                line for line in re.split(r"[\n\r]", capsys.readouterr().err) if line.strip() and not BAR.search(line)
            ]
            assert exit_.value.code == 2
            (line,) = said
            assert line.startswith("error: ")
            assert len(line) < 700
            assert not [word for word in words if word.format(folder=folder).lower() not in line.lower()], line
            assert on_disk(folder) == before
        finally:
            for path in sorted(on_disk(folder) - before, reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
        REFUSED.append(name)

    return check


@pytest.mark.parametrize(("given", "words"), cases(COMMANDS))
def test_a_wrong_command_line(given, words, folder, refused):
    refused(shlex.split(given.format(folder=folder)), words, given)


@pytest.mark.parametrize(("given", "words"), cases(OVERLAYS))
def test_a_wrong_overlay(given, words, folder, refused):
    (folder / "overlay.yaml").write_text(given)
    right, wrong = str(folder / "config.yaml"), str(folder / "overlay.yaml")
    refused(["fit", "--config", right, "--config", wrong], words, given)


def test_what_the_table_holds(request, capsys):
    """Tells how many there are, and how many of those that ran were refused in one line."""
    names = [given for given, *_ in COMMANDS]
    assert len(names) == len(set(names))
    assert len(OVERLAYS) == len({given for given, *_ in OVERLAYS})
    assert set(ELSEWHERE) <= {given.removeprefix(RIGHT) for given in names}
    with capsys.disabled():
        print(f"\n{len(COMMANDS) + len(OVERLAYS)} wrong configurations: {len(REFUSED)} in one line")
