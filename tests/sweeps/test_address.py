"""An address changes with all that a result depends on, and with nothing else."""

from __future__ import annotations

import copy
import shutil

import pytest

from edit_lit.sweeps.address import Addresses, code_version

OPTIONS = {
    "name": "x",
    "seed_everything": 0,
    "model": {"language_model": {"path": "gpt2"}, "optimizer": {"init_args": {"lr": 0.1}}},
    "data": {"edits": {"init_args": {"path": "facts.json", "seed": 3}}, "batch_size": 4},
    "edit": {"editor": {"class_path": "MEMIT", "init_args": {"key_covariance": {"limit": 9}, "layers": [1]}}},
    "trainer": {"max_steps": 5, "default_root_dir": "runs", "devices": "auto"},
}


def changed(*keys, to):
    options = copy.deepcopy(OPTIONS)
    place = options
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = to
    return options


@pytest.fixture
def addresses():
    return Addresses({"torch": "2"})


# Which of the addresses of trial, edit and statistics a change changes.
@pytest.mark.parametrize(
    ("keys", "to", "which"),
    [
        (["name"], "y", ""),
        (["trainer", "default_root_dir"], "elsewhere", ""),
        (["trainer", "max_steps"], 6, "t"),
        (["model", "optimizer", "init_args", "lr"], 0.2, "t"),
        (["data", "batch_size"], 5, "t"),
        (["seed_everything"], 1, "t"),
        (["data", "edits", "init_args", "seed"], 4, "te"),
        (["edit", "editor", "init_args", "layers"], [2], "te"),
        (["edit", "editor", "init_args", "key_covariance"], {"limit": 8}, "tes"),
        (["model", "language_model", "path"], "gpt2-xl", "tes"),
    ],
)
def test_what_an_address_hangs_on(addresses, keys, to, which):
    options = changed(*keys, to=to)
    for letter, address in (("t", addresses.trial), ("e", addresses.edit), ("s", addresses.statistics)):
        assert (address(options) != address(OPTIONS)) == (letter in which), letter


def test_it_hangs_on_code_and_versions(addresses):
    assert addresses.trial(OPTIONS) == Addresses({"torch": "2"}).trial(OPTIONS)
    assert addresses.trial(OPTIONS) != Addresses({"torch": "3"}).trial(OPTIONS)
    assert code_version() == code_version()


def test_an_edit_without_a_seed_of_its_own_follows_the_runs(addresses):
    without = changed("data", "edits", "init_args", "seed", to=None)
    other = copy.deepcopy(without)
    other["seed_everything"] = 1
    assert addresses.edit(without) != addresses.edit(other)
    assert addresses.edit(OPTIONS) == addresses.edit(changed("seed_everything", to=1))


def test_without_an_edit_there_is_none_to_share(addresses):
    control = changed("edit", "editor", to=None)
    assert addresses.edit(control) is None
    named = changed("edit", "apply", to=False)
    assert (addresses.edit(named), addresses.statistics(named)) == (None, None)
    assert addresses.trial(named) != addresses.trial(OPTIONS)
    assert addresses.statistics(control) is None


def test_files_count_by_their_content_wherever_they_lie(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"1")
    (tmp_path / "facts.json").write_text("[]")

    def address(model, facts):
        options = changed("model", "language_model", "path", to=str(model))
        options["data"]["edits"]["init_args"]["path"] = str(facts)
        return Addresses({}).trial(options)

    first = address(tmp_path / "model", tmp_path / "facts.json")
    shutil.copytree(tmp_path / "model", tmp_path / "moved")
    assert address(tmp_path / "moved", tmp_path / "facts.json") == first
    (tmp_path / "moved" / "weights").write_bytes(b"2")
    assert address(tmp_path / "moved", tmp_path / "facts.json") != first
    (tmp_path / "moved" / "weights").rename(tmp_path / "moved" / "other")
    (tmp_path / "moved" / "other").write_bytes(b"1")
    assert address(tmp_path / "moved", tmp_path / "facts.json") != first
    (tmp_path / "facts.json").write_text("[1]")
    assert address(tmp_path / "model", tmp_path / "facts.json") != first


def test_a_word_that_happens_to_be_a_folders_name_is_a_word(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = Addresses({}).trial(changed("data", "batch_size", to="all"))
    (tmp_path / "all").mkdir()
    assert Addresses({}).trial(changed("data", "batch_size", to="all")) == before
