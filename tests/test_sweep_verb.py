"""The verb ``sweep``: what it would do, and every mistake in one line before any trial starts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import tiny
import yaml
from tiny_run import write_run

from edit_lit.cli import main
from edit_lit.sweeps.folder import SweepFolder, TrialList


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    (folder / "corpus.txt").write_text("\n".join(tiny.TEXT))
    return write_run(folder, str(folder / "corpus.txt"))


@pytest.fixture
def write(base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(axes, **content):
        Path("sweep.yaml").write_text(yaml.safe_dump({"base": str(base), "axes": axes, **content}, sort_keys=False))
        return ["sweep", "--config", "sweep.yaml"]

    return write


def refused(args, capsys):
    before = sorted(Path().rglob("*"))
    with pytest.raises(SystemExit) as exit_:
        main(args)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert sorted(Path().rglob("*")) == before
    return line


def test_a_dry_run_lists_the_trials_and_leaves_nothing(write, capsys):
    args = write(
        [{"model.tuning": ["LoRA", "FullTuning"]}, {"edit.editor.layers": [[1], [2]]}, {"model.seed": [0, 1]}],
        exclude=[{"model.tuning": "LoRA", "model.seed": 1, "because": "one is enough"}],
    )
    main([*args, "--dry-run"])
    told = capsys.readouterr().out
    assert "6 trials, 0 of them done already; 2 distinct edits" in told
    assert "2 left out: one is enough" in told
    assert "no estimate of the time" in told
    rows = [line.split("│")[1:-1] for line in told.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row[:4]] for row in rows] == [
        ["LoRA", "[1]", "0", "1"],
        ["LoRA", "[2]", "0", "2"],
        ["FullTuning", "[1]", "0", "1"],
        ["FullTuning", "[1]", "1", "1"],
        ["FullTuning", "[2]", "0", "2"],
        ["FullTuning", "[2]", "1", "2"],
    ]
    assert sorted(Path().iterdir()) == [Path("sweep.yaml")]


def test_a_dry_run_finds_what_is_there(write, capsys):
    args = write([{"seed_everything": [0, 1]}])
    main([*args, "--dry-run", "--output", "out"])
    address = capsys.readouterr().out.splitlines()[-3].split("│")[-2].strip()
    run = Path("out", "trials", address, "version_0")
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text("")
    (run / "checkpoints" / "finished.json").write_text("{}")
    (run / "run.json").write_text(json.dumps({"segments": [{"started": "now", "state": "finished"}]}))
    (run.parent / "status.json").write_text(json.dumps({"stage": "running", "seconds": 90.0}))
    TrialList("sweep", {}).write(SweepFolder(Path("out")))
    main([*args, "--dry-run", "--output", "out"])
    told = capsys.readouterr().out
    assert "2 trials, 1 of them done already" in told
    assert "by 1 trials that are done" in told


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        (
            [{"model.tunning": ["LoRA"]}],
            "trial model.tunning LoRA: --model.tunning is no option. Did you mean --model.tuning?",
        ),
        ([{"model.tuning.r": [2, "many"]}], "trial model.tuning.r many: model.tuning"),
        ([{"trainer.max_steps": [3, -4]}], "trial trainer.max_steps -4: trainer.max_steps"),
        ([{"seed_everything": [0]}, {"name": ["a", "b"]}], "two trials are the same: seed_everything 0, name a; and"),
        ([{"x": {"one": {}, "two": {}}}], "two trials are the same: x one; and x two. Leave one out"),
    ],
)
def test_what_no_trial_could_be_is_refused(write, axes, said, capsys):
    assert said in refused([*write(axes), "--dry-run"], capsys)


def test_a_folder_of_something_else_is_refused(write, capsys):
    args = [*write([{"seed_everything": [0]}]), "--output", "out"]
    Path("out").mkdir()
    Path("out", "thesis.tex").touch()
    assert "out holds something else than a sweep. Name another folder" in refused(args, capsys)
    TrialList("other", {}).write(SweepFolder(Path("out")))
    assert "out holds the sweep 'other', not 'sweep'" in refused(args, capsys)
    with SweepFolder(Path("out")).drive():
        TrialList("sweep", {}).write(SweepFolder(Path("out")))


def test_what_is_missing_is_named(write, capsys, monkeypatch):
    args = write([{"seed_everything": [0]}])
    assert "there is no sweep in runs/sweeps/sweep yet" in refused([*args, "--watch"], capsys)
    assert "--config" in refused(["sweep"], capsys)
    assert "does not exist" in refused(["sweep", "--config", "nowhere.yaml"], capsys)
    assert "--cpus is 0, but it is a number from 1 on" in refused([*args, "--cpus", "0"], capsys)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "a sweep needs Ray, which is not installed. Install it: pip install 'edit_lit[sweep]'" in refused(
        args, capsys
    )
