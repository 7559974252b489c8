"""What several trials need is made once, before them; what is done is not done again."""

from __future__ import annotations

import json

from edit_lit.sweeps.folder import PlannedTrial, SweepFolder, TrialList
from edit_lit.sweeps.plan import Commands, plan_jobs
from edit_lit.sweeps.status import Stage


def planned(tmp_path, *trials):
    listed = [PlannedTrial(name, {}, *needs) for name, *needs in trials]
    return plan_jobs(listed, Commands(SweepFolder(tmp_path)))


def order(nodes):
    return {key: (node.job.command[0], node.needs, node.behind) for key, node in nodes.items()}


def finish(tmp_path, trial, state="finished"):
    run = tmp_path / "trials" / trial / "version_0"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text("")
    (run / "checkpoints" / "finished.json").write_text("{}")
    (run / "run.json").write_text(json.dumps({"segments": [{"started": "now", "state": state}]}))


def test_trials_that_share_an_edit_wait_for_it(tmp_path):
    nodes = planned(tmp_path, ("a", "e", "s"), ("b", "e", "s"), ("c", None, None))
    assert order(nodes) == {
        "e": ("edit", None, None),
        "a": ("fit", "e", None),
        "b": ("fit", "e", None),
        "c": ("fit", None, None),
    }


def test_an_edit_of_one_trial_is_made_in_it(tmp_path):
    assert order(planned(tmp_path, ("a", "e", None), ("b", "f", None))) == {
        "a": ("fit", None, None),
        "b": ("fit", None, None),
    }


def test_of_the_edits_that_need_the_same_statistics_one_goes_first(tmp_path):
    nodes = planned(tmp_path, ("a", "e", "s"), ("b", "f", "s"), ("c", "g", "s"), ("d", "g", "s"), ("x", "h", "other"))
    assert order(nodes) == {
        "e": ("edit", None, None),
        "g": ("edit", None, "e"),
        "a": ("fit", "e", None),
        "b": ("fit", None, "e"),
        "c": ("fit", "g", None),
        "d": ("fit", "g", None),
        "x": ("fit", None, None),
    }


def test_each_job_comes_behind_those_that_it_needs(tmp_path):
    nodes = planned(tmp_path, *((f"t{n}", f"e{n % 3}", f"s{n % 2}") for n in range(12)))
    seen = set()
    for key, node in nodes.items():
        assert {node.needs, node.behind} - {None} <= seen
        seen.add(key)


def test_a_trial_is_what_the_sweep_says_and_is_gone_on_with_as_that(tmp_path):
    for verb in ("fit", "cycles"):
        (node,) = plan_jobs([PlannedTrial("a", {})], Commands(SweepFolder(tmp_path), verb)).values()
        assert node.job.command == [verb, "--config", str(tmp_path / "trials" / "a" / "trial.yaml")]
        assert node.job.resume == [verb, "--resume"]


def test_what_is_done_is_left_out(tmp_path):
    finish(tmp_path, "a")
    finish(tmp_path, "b", "diverged")
    finish(tmp_path, "c", "interrupted")
    nodes = planned(tmp_path, ("a", "e", None), ("b", "e", None), ("c", "e", None), ("d", "e", None))
    assert list(nodes) == ["e", "c", "d"]


def test_a_killed_run_is_not_done_and_a_removed_one_neither(tmp_path):
    finish(tmp_path, "a")
    (job,) = (node.job for node in planned(tmp_path, ("b", None, None), ("a", None, None)).values())
    assert job.folder.name == "b"
    done = job.__class__(tmp_path / "trials" / "a", (), tmp_path)
    assert done.status().stage is Stage.FINISHED
    (tmp_path / "trials" / "a" / "version_0" / "checkpoints" / "finished.json").unlink()
    assert done.status().stage is Stage.WAITING


def test_the_list_comes_back_as_it_was(tmp_path):
    folder = SweepFolder(tmp_path)
    listed = TrialList("x", {"a": ["1", "2"]}, ["a"], [PlannedTrial("f0", {"a": "1"}, "e", None)])
    assert TrialList.read(folder) is None
    listed.write(folder)
    assert TrialList.read(folder) == listed
