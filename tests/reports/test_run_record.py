from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace

import pytest
from run_samples import ended

from edit_lit.reports.environment import commit, versions
from edit_lit.reports.run_record import FILE, RunRecord, State
from edit_lit.utilities.errors import ConfigError


def test_a_record_comes_back_as_it_was(tmp_path):
    segment = ended(State.INTERRUPTED, 37, commit={"hash": "abc", "dirty": True}, command=["fit", "--name", "ä"])
    record = RunRecord([segment, replace(segment, state=State.FINISHED, start_step=37, step=400)])
    record.write(tmp_path)
    assert RunRecord.read(tmp_path) == record
    stored = json.loads((tmp_path / FILE).read_text())
    assert (stored["state"], stored["step"], stored["steps_planned"]) == ("finished", 400, 400)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_no_record_is_no_mistake_and_a_later_version_s_is_read(tmp_path):
    assert RunRecord.read(tmp_path) is None
    RunRecord([ended(State.FINISHED, 400)]).write(tmp_path)
    stored = json.loads((tmp_path / FILE).read_text())
    stored["segments"][0]["of_a_later_version"] = 1
    (tmp_path / FILE).write_text(json.dumps(stored))
    assert RunRecord.read(tmp_path) == RunRecord([ended(State.FINISHED, 400)])


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"segments": [{"sta',
        "[]",
        "{}",
        '{"segments": []}',
        '{"segments": [{"state": "finished"}]}',
        '{"segments": [{"started": "", "state": "sleeping"}]}',
        '{"segments": [{"started": "", "state": "running", "step": "many"}]}',
        '{"segments": [{"started": "", "state": "running", "seeds": 3}]}',
        '{"segments": [null]}',
        "\0\0\0",
    ],
)
def test_a_damaged_record_is_named_with_the_remedy(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ConfigError, match=r"run\.json is no record of a run .* Delete it"):
        RunRecord.read(tmp_path)


def test_bytes_that_are_no_text_are_a_damaged_record(tmp_path):
    (tmp_path / FILE).write_bytes(b"\xff\xfe{")
    with pytest.raises(ConfigError, match=r"run\.json is no record"):
        RunRecord.read(tmp_path)


def test_versions_are_those_of_the_installed_packages():
    assert set(versions()) == {"python", "edit_lit", "torch", "lightning", "transformers", "peft", "datasets"}
    assert "not installed" not in versions().values()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_the_checkout_itself(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as inside a git hook
    assert commit(tmp_path) is None
    monkeypatch.delenv("GIT_DIR")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    (tmp_path / "file").write_text("1")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    name = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert commit(tmp_path) == {"hash": name, "dirty": False}
    (tmp_path / "new").write_text("2")
    assert commit(tmp_path) == {"hash": name, "dirty": True}
    # Installed somewhere within another project's checkout, a package has no commit of its own.
    (tmp_path / "site-packages").mkdir()
    assert commit(tmp_path / "site-packages") is None
    assert capfd.readouterr() == ("", "")


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit() is None
