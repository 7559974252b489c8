"""What is collected from a sweep's folder, against the runs themselves."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from made_sweeps import STEPS, Answers, requests, write_run, write_sweep

from edit_lit.analysis.collect import FACTS, RESULTS, collect
from edit_lit.analysis.sweep import Sweep
from edit_lit.analysis.trials_file import TRIALS, write_trials
from edit_lit.facts.request import fact_hash
from edit_lit.measures.curve import BEFORE_EDIT, BINARY_RULES
from edit_lit.measures.outcome_files import FOLDER, read_names, write_probe
from edit_lit.measures.outcomes import Kind, Outcomes, Pool
from edit_lit.measures.scores import Rule, edit_scores, margin
from edit_lit.reports.run import Run
from edit_lit.reports.run_record import RunRecord, State
from edit_lit.sweeps.folder import TRIALS as LIST
from edit_lit.sweeps.status import Stage, Status
from edit_lit.utilities.errors import ConfigError

AXES = {"editor": ["memit", "none"], "seed": ["0", "1"]}


def sweep(folder, answers=lambda labels: Answers(0.3), axes=AXES, **options):
    return write_sweep(folder, axes, ["seed"], answers, **options)


def rows_of(table, **wanted):
    for name, value in wanted.items():
        table = table.filter(pc.equal(table[name], value))
    return table


def run_of(folder, address):
    return Run.read(folder / "trials" / address / "version_0")


def test_every_score_of_every_run_is_in_the_results(tmp_path):
    folder = sweep(tmp_path / "s")
    collect(Sweep.read(folder))
    table = pq.read_table(folder / RESULTS)
    for trial in Sweep.read(folder).trials:
        run, own = run_of(folder, trial.address), rows_of(table, trial=trial.address)
        assert set(own["editor"].to_pylist()) == {trial.labels["editor"]}
        for pool, probes in run.probes.items():
            for step, outcomes in probes.items():
                for rule in Rule:
                    found = rows_of(own, pool=str(pool), step=step, rule=str(rule)).to_pylist()
                    values = {row["score"]: row["value"] for row in found}
                    assert edit_scores(outcomes, rule).items() <= values.items()
                    counts = {row["score"]: row["count"] for row in found}
                    assert counts["efficacy"] == len(outcomes.of_kind(Kind.REWRITE))
                assert rows_of(own, pool=str(pool), step=step, score="margin")["value"][0].as_py() == margin(outcomes)
            for rule in BINARY_RULES:
                for step, counts in run.transitions(pool, rule).items():
                    (row,) = rows_of(own, pool=str(pool), step=step, rule=str(rule), score="retention").to_pylist()
                    assert (row["value"], row["count"]) == (counts.retention, counts.baseline_successes)
        losses = rows_of(own, score="downstream/val_loss")
        assert (
            list(zip(losses["step"].to_pylist(), losses["value"].to_pylist(), strict=True)) == run.metrics["val_loss"]
        )


def test_the_per_fact_table_has_all_that_the_scores_are_made_of(tmp_path):
    folder = sweep(tmp_path / "s")
    collect(Sweep.read(folder))
    table = pq.read_table(folder / FACTS)
    run = run_of(folder, "00000000")
    for pool, probes in run.probes.items():
        for step, outcomes in probes.items():
            rows = rows_of(table, trial="00000000", pool=str(pool), step=step)
            assert rows.num_rows == len(outcomes)
            for name in ("nll", "exact", "token", "first"):
                stored = [rows[f"{name}_{side}"].to_numpy() for side in ("answer", "alternative")]
                np.testing.assert_array_equal(np.stack(stored, axis=1), getattr(outcomes, name).numpy())
            asked = rows_of(rows, kind="rewrite")
            assert pc.mean(asked["prob"]).as_py() == pytest.approx(edit_scores(outcomes, Rule.PROB)["efficacy"])
            assert pc.mean(asked["margin"]).as_py() == pytest.approx(margin(outcomes))


def test_facts_of_several_runs_have_the_same_name_whatever_their_place(tmp_path):
    folder, facts = sweep(tmp_path / "s"), requests(12)
    moved = folder / "trials" / "00000002" / "version_1"
    write_run(moved, Answers(0.5), 3, facts[::-1], requests(12, 500), pool=Pool.UNEDITED)
    collect(Sweep.read(folder))
    table = rows_of(pq.read_table(folder / FACTS), kind="rewrite", step=0, seed="0")
    names = [
        rows_of(table, trial=t, pool=p)["fact"].to_pylist()
        for t, p in (("00000000", "edited"), ("00000002", "unedited"))
    ]
    assert names[0] == [fact_hash(fact) for fact in facts]
    assert names[1] == names[0][::-1]


def test_what_is_not_a_number_is_missing_and_counted(tmp_path):
    folder = sweep(tmp_path / "s")
    records = folder / "trials" / "00000001" / "version_0" / FOLDER
    whole = Run.read(records.parent).probes[Pool.EDITED][STEPS[-1]]
    broken = {name: tensor.clone() for name, tensor in whole.tensors().items()}
    for name in ("nll", "exact", "token", "first"):
        broken[name][:2] = float("nan")
    write_probe(records, STEPS[-1], {Pool.EDITED: Outcomes(**broken)}, {Pool.EDITED: requests(12, 100)})
    results = {result.trial.address: result for result in collect(Sweep.read(folder))}
    assert results["00000001"].state == "diverged"
    assert results["00000001"].why == f"diverged at step {STEPS[-1]}; the last numbers are those of step {STEPS[-2]}"
    assert not results["00000001"].finished
    own = rows_of(pq.read_table(folder / RESULTS), trial="00000001", step=STEPS[-1], pool="edited", rule="exact")
    (row,) = rows_of(own, score="efficacy").to_pylist()
    assert (row["value"], row["not_a_number"], row["state"]) == (None, 1, "diverged")
    facts = rows_of(pq.read_table(folder / FACTS), trial="00000001", step=STEPS[-1])
    assert facts["exact_answer"].null_count == facts["nll_answer"].null_count == 2


def test_a_run_is_written_anew_only_if_it_has_changed(tmp_path):
    folder = sweep(tmp_path / "s")

    def times():
        collect(Sweep.read(folder))
        return {path.stem: path.stat().st_mtime_ns for path in (folder / FACTS).glob("*.parquet")}

    first = times()
    assert times() == first
    run = folder / "trials" / "00000001" / "version_0"
    write_run(run, Answers(0.9), 99, requests(12, 100), requests(12, 600))
    second = times()
    assert {name for name in first if first[name] != second[name]} == {"00000001"}
    content = json.loads((folder / LIST).read_text())
    content["trials"] = content["trials"][:2]
    (folder / LIST).write_text(json.dumps(content))
    assert set(times()) == {"00000000", "00000001"}
    assert set(pq.read_table(folder / RESULTS)["trial"].to_pylist()) == {"00000000", "00000001"}


def test_every_state_of_a_trial_is_told(tmp_path):
    axes = {"editor": [f"e{number}" for number in range(8)], "seed": ["0"]}
    folder = sweep(tmp_path / "s", lambda labels: None if labels["editor"] == "e1" else Answers(0.3), axes)
    runs = {f"e{n}": folder / "trials" / f"{n:08x}" / "version_0" for n in range(8)}
    ended = RunRecord.read(runs["e0"]).last
    for label, changes in {
        "e2": {"state": State.FAILED, "error": "OSError: disk full", "step": 20, "steps_planned": 40},
        "e3": {"state": State.RUNNING, "ended": None},
        "e4": {"state": State.DIVERGED, "diverged_at": 15},
        "e5": {"state": State.INTERRUPTED},
    }.items():
        RunRecord([replace(ended, **changes)]).write(runs[label])
    (runs["e6"] / "run.json").unlink()
    (runs["e7"] / FOLDER / "step_000000010.parquet").write_bytes(b"torn")
    (runs["e0"].parent / "version_x").mkdir()
    results = collect(Sweep.read(folder))
    assert [result.state for result in results] == [
        *("finished", "not started", "failed", "running", "diverged", "interrupted", "not recorded", "unreadable")
    ]
    assert results[2].why.startswith("stopped at step 20 of 40 (failed: OSError: disk full)")
    assert "no whole record of a probe" in results[7].why
    assert results[0].seconds == 90
    assert results[3].seconds is None


def test_a_trial_that_failed_before_it_had_a_run_says_why(tmp_path):
    folder = sweep(tmp_path / "s", lambda labels: Answers() if labels["seed"] == "0" else None, {"seed": ["0", "1"]})
    Status(Stage.FAILED, attempts=2, error="no such model").write(folder / "trials" / "00000001")
    results = collect(Sweep.read(folder))
    assert [(result.state, result.why) for result in results] == [("finished", ""), ("failed", "no such model")]


def test_the_newest_run_of_a_trial_counts(tmp_path):
    folder = sweep(tmp_path / "s", axes={"seed": ["0"]})
    for version, state in ((9, State.FINISHED), (10, State.RUNNING)):
        write_run(folder / "trials" / "00000000" / f"version_{version}", Answers(), 0, requests(5), requests(5), state)
    (result,) = collect(Sweep.read(folder))
    assert result.state == "running"


def test_the_table_of_trials_has_a_row_for_each(tmp_path):
    folder = sweep(tmp_path / "s", lambda labels: None if labels["editor"] == "none" else Answers(0.3))
    read = Sweep.read(folder)
    write_trials(read, collect(read))
    with (folder / TRIALS).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["editor"], row["seed"], row["state"]) for row in rows] == [
        ("memit", "0", "finished"),
        ("memit", "1", "finished"),
        ("none", "0", "not started"),
        ("none", "1", "not started"),
    ]
    run = run_of(folder, "00000001")
    retention = run.transitions(Pool.EDITED, Rule.EXACT)[STEPS[-1]].retention
    assert float(rows[1]["retention"]) == pytest.approx(retention)
    assert float(rows[1]["downstream_loss"]) == run.downstream["val_loss"][-1][1]
    assert rows[1]["seconds"] == "90.0"
    assert rows[2]["retention"] == ""


def test_a_trial_that_is_not_finished_has_no_last_numbers(tmp_path):
    folder = sweep(tmp_path / "s", axes={"seed": ["0"]}, state=State.RUNNING)
    read = Sweep.read(folder)
    results = collect(read)
    assert results[0].samples
    write_trials(read, results)
    with (folder / TRIALS).open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["state"], row["last_step"], row["retention"], row["survival"]) == ("running", "40", "", "")


def test_axes_that_are_called_as_columns_keep_their_labels(tmp_path):
    folder = sweep(tmp_path / "s", axes={"state": ["a", "b"], "rule": ["x"], "seed": ["0"]})
    read = Sweep.read(folder)
    write_trials(read, collect(read))
    table = pq.read_table(folder / RESULTS)
    assert set(table["axis state"].to_pylist()) == {"a", "b"}
    assert set(table["state"].to_pylist()) == {"finished"}
    assert set(table["axis rule"].to_pylist()) == {"x"}
    assert (folder / TRIALS).read_text().startswith("trial,axis state,rule,seed,state,")


def test_records_without_names_of_facts_are_of_an_earlier_version(tmp_path):
    records = sweep(tmp_path / "s") / "trials" / "00000000" / "version_0" / FOLDER
    for path in records.glob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["fact"]), path)
    with pytest.raises(ConfigError, match="does not say which facts it is about .*Run it again"):
        read_names(records, [Pool.EDITED])
    with pytest.raises(ConfigError, match="holds no probe records of intrinsic facts"):
        read_names(records.parent, [Pool.INTRINSIC])
    assert collect(Sweep.read(records.parents[3]))[0].state == "unreadable"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("axes"), "KeyError"),
        (lambda content: content.update(replicates=["chance"]), "'chance' is among its replicates, but no axis"),
        (lambda content: content["trials"].clear(), "it lists no trial"),
        (lambda content: content["trials"][0]["labels"].pop("seed"), "has no label of the axis 'seed'"),
        (lambda content: content["trials"].append(content["trials"][0]), "two trials have the same addresses"),
        (lambda content: content["trials"][0]["labels"].update(seed="1"), "two trials have the same labels"),
        (lambda content: content.update(axes=["seed"]), "AttributeError"),
        (lambda content: content["trials"][0].update(labels=7), "TypeError"),
    ],
)
def test_a_damaged_list_of_trials_is_one_line(tmp_path, change, message):
    folder = sweep(tmp_path / "s")
    content = json.loads((folder / LIST).read_text())
    change(content)
    (folder / LIST).write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=message) as caught:
        Sweep.read(folder)
    assert "trials.json is " in str(caught.value)


def test_before_the_edit_is_a_step_of_its_own(tmp_path):
    folder = sweep(tmp_path / "s")
    collect(Sweep.read(folder))
    before = rows_of(pq.read_table(folder / RESULTS), step=BEFORE_EDIT, pool="edited", score="retention")
    assert before.num_rows == 0
    assert set(pq.read_table(folder / RESULTS)["step"].to_pylist()) == {BEFORE_EDIT, *STEPS}
