"""The tables of runs as CSV and LaTeX, against plain loops over the runs' records."""

from __future__ import annotations

import csv
import math
from statistics import fmean

import pyarrow.parquet as pq
import pytest
import torch
from matplotlib.figure import Figure
from run_samples import ended, outcomes, request, run, write

from edit_lit.measures.curve import BEFORE_EDIT
from edit_lit.measures.outcome_files import FOLDER, write_probe
from edit_lit.measures.outcomes import KINDS, Kind, Outcomes, Pool
from edit_lit.measures.scores import Rule
from edit_lit.reports import report
from edit_lit.reports.facts_table import FACTS_COLUMNS
from edit_lit.reports.lost_facts import LOST_HEADER
from edit_lit.reports.report import report_comparison, report_run
from edit_lit.reports.run import Run
from edit_lit.reports.run_record import State
from edit_lit.reports.run_tables import run_tables
from edit_lit.reports.score_records import COLUMNS
from edit_lit.reports.table_files import write_csv_and_latex

STEPS = (BEFORE_EDIT, 0, 10, 30)
FACTS = {Pool.EDITED: 24, Pool.INTRINSIC: 9}
PROMPTS = {Kind.REWRITE: 1, Kind.PARAPHRASE: 2, Kind.NEIGHBORHOOD: 3}
SHARES = {BEFORE_EDIT: 0.2, 0: 0.9, 10: 0.7, 30: 0.5}
NAMES = {Kind.REWRITE: "efficacy", Kind.PARAPHRASE: "generalization", Kind.NEIGHBORHOOD: "specificity"}
TABLES = ("table", "lost_facts", "fates_survival", "fates_steps", "facts")


def drawn(facts, share, chance):
    """Answers at random, the last fact without an old object."""
    rows = [(f, KINDS.index(kind), n) for f in range(facts) for kind, count in PROMPTS.items() for n in range(count)]
    who, kind, prompt = torch.tensor(rows).T
    draw = torch.rand(len(rows), generator=chance, dtype=torch.float64)
    exact = torch.stack([draw < share, (draw >= share) & (draw < (1 + share) / 2)], dim=1).double()
    nll = torch.rand(len(rows), 2, generator=chance, dtype=torch.float64) + 1 - exact
    nll[who == facts - 1, 1], exact[who == facts - 1, 1] = math.nan, 0
    return Outcomes(who, kind, prompt, nll=nll, exact=exact, token=exact.clone(), first=exact.clone())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of two pools with all kinds of questions."""
    folder = tmp_path_factory.mktemp("runs") / "a" / "version_0"
    chance = torch.Generator().manual_seed(5)
    requests = {pool: [request(100 * len(pool) + n) for n in range(count)] for pool, count in FACTS.items()}
    for step in STEPS:
        answers = {pool: drawn(count, SHARES[step], chance) for pool, count in FACTS.items()}
        write_probe(folder / FOLDER, step, answers, requests)
    return Run.read(write(folder, {}, downstream=[(0, 0.25), (20, 1 / 3)], segment=ended(State.FINISHED, 30, 30)))


def written(run, rule=Rule.EXACT):
    """A run's tables in files, without its figures, which take long."""
    folder = run.folder / "report"
    for each in run_tables(run, rule):
        write_csv_and_latex(folder, each)
    return folder


@pytest.fixture
def without_figures(monkeypatch):
    monkeypatch.setattr(report, "decay_figure", lambda run, rule: Figure())
    monkeypatch.setattr(report, "fate_figures", lambda run, fates, rule: {})
    monkeypatch.setattr(report, "comparison_figure", lambda runs, rule: Figure())


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def latex_rows(path):
    """The rows between header and end of a table."""
    return path.read_text().split("\\midrule\n")[1].split("\\bottomrule")[0].splitlines()


def recorded(folder):
    """The records of a run: rows by pool, step and kind."""
    found = {}
    for row in pq.read_table(folder / FOLDER).to_pylist():
        found.setdefault((row["pool"], row["step"], row["kind"]), []).append(row)
    return found


def right(row, rule):
    """Whether a recorded answer is right; none if the rule cannot tell."""
    if rule == "prob":
        return None if math.isnan(row["nll_alternative"]) else row["nll_answer"] < row["nll_alternative"]
    return row["exact_answer"] == 1


def mean_over_facts(rows, rule):
    by_fact = {}
    for row in rows:
        if right(row, rule) is not None:
            by_fact.setdefault(row["request"], []).append(right(row, rule))
    return fmean(fmean(values) for values in by_fact.values()), len(by_fact)


def one(records, **wanted):
    (record,) = [row for row in records if all(row[name] == value for name, value in wanted.items())]
    return record


def markdown_rows(path):
    """How many rows the tables of a page have, without headers."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
    return len(lines) - 2 * sum(line.startswith("| ---") for line in lines)


def test_every_table_has_its_files_and_latex_as_many_rows_as_the_page(made, without_figures):
    folder = report_run(made)
    files = {path.name for path in folder.iterdir() if path.suffix in (".md", ".csv", ".tex")}
    assert files == {f"{name}.md" for name in ("table", "lost_facts", "fates", "facts")} | {
        f"{name}.{kind}" for name in TABLES for kind in ("csv", "tex")
    }
    rows = {name: len(latex_rows(folder / f"{name}.tex")) for name in TABLES}
    pages = {name: markdown_rows(folder / f"{name}.md") for name in ("table", "lost_facts", "facts", "fates")}
    assert rows["fates_survival"] + rows["fates_steps"] == pages.pop("fates")
    assert {name: rows[name] for name in pages} == pages
    assert rows["facts"] == FACTS[Pool.EDITED]
    assert rows["fates_steps"] == 3
    assert r"\caption{Scores of a/version\_0}" in (folder / "table.tex").read_text()


def test_scores_are_means_over_the_recorded_answers(made):
    records, rows = table(written(made) / "table.csv"), recorded(made.folder)
    stages = {"before_edit": BEFORE_EDIT, "after_edit": 0, "last": 30}
    for kind, name in NAMES.items():
        for rule in ("prob", "exact"):
            for stage, step in stages.items():
                record = one(records, quantity=name, rule=rule, stage=stage)
                value, facts = mean_over_facts(rows["edited", step, kind], rule)
                assert float(record["value"]) == pytest.approx(value, abs=1e-12)
                assert (record["facts"], record["pool"]) == (str(facts), "edited")
                assert record["step"] == ("" if step == BEFORE_EDIT else str(step))
                assert record["low"] == record["high"] == ""
    assert {record["run"] for record in records} == {"a/version_0"}
    assert {record["rule"] for record in records} == {"", "prob", "exact"}
    accuracy = one(records, quantity="downstream_accuracy")
    assert (float(accuracy["value"]), accuracy["step"], accuracy["rule"]) == (1 / 3, "20", "")


@pytest.mark.parametrize("pool", FACTS)
@pytest.mark.parametrize("rule", ["prob", "exact"])
def test_retention_and_its_interval_are_those_of_the_recorded_answers(made, pool, rule):
    records, rows = table(written(made, Rule(rule)) / "table.csv"), recorded(made.folder)
    before, first, *_, last = (rows[pool, step, "rewrite"] for step in STEPS)
    asked = [number for number, row in enumerate(first) if right(row, rule) is not None]
    known = [n for n in asked if right(before[n], rule)] if pool is Pool.EDITED else []
    counted = [n for n in asked if n not in known]
    began = [n for n in counted if right(first[n], rule)]
    kept = [n for n in began if right(last[n], rule)]
    record = one(records, quantity="retention", pool=pool, rule=rule)
    share, facts = len(kept) / len(began), len(began)
    assert (float(record["value"]), int(record["facts"]), record["step"]) == (share, facts, "30")
    # Wilson's bounds are those shares from which the seen one is 1.96 standard errors away.
    low, high = float(record["low"]), float(record["high"])
    assert low < share < high
    for bound in (low, high):
        error = math.sqrt(bound * (1 - bound) / facts)
        assert abs(share - bound) == pytest.approx(1.959964 * error, rel=1e-9)
    at_baseline = one(records, quantity="right_at_baseline", pool=pool, rule=rule)
    assert float(at_baseline["value"]) == pytest.approx(len(began) / len(counted))
    if pool is Pool.EDITED:
        already = one(records, quantity="already_right", rule=rule)
        assert (already["value"], already["facts"]) == (str(len(known)), str(len(asked)))
        lost = [n for n in began if n not in kept]
        back = [n for n in lost if last[n]["exact_alternative"] == 1] if rule == "exact" else lost
        counts = {name: one(records, quantity=name)["value"] for name in ("reverted", "displaced")}
        assert counts == {"reverted": str(len(back)), "displaced": str(len(lost) - len(back))}
        shares = {step: sum(bool(right(rows[pool, step, "rewrite"][n], rule)) for n in began) for step in STEPS[1:]}
        half = next((step for step, alive in shares.items() if 2 * alive <= facts), "")
        assert one(records, quantity="half_life")["value"] == str(half)


def test_facts_and_lost_facts_are_those_of_the_recorded_answers(made):
    folder, rows = written(made), recorded(made.folder)
    curve = {step: rows["edited", step, "rewrite"] for step in STEPS}
    facts = {record["subject"]: record for record in table(folder / "facts.csv")}
    lost = table(folder / "lost_facts.csv")
    assert [record["lost by step"] for record in lost] == sorted(record["lost by step"] for record in lost)
    assert len(lost) == sum(record["lost by step"] != "" for record in facts.values())
    for number, row in enumerate(curve[0]):
        record = facts[row["subject"]]
        alive = {step: right(curve[step][number], "exact") for step in STEPS}
        if alive[BEFORE_EDIT] or not alive[0]:
            assert record["fate"] == ("right before the edit" if alive[BEFORE_EDIT] else "never taken")
            assert [record[name] for name in FACTS_COLUMNS[6:]] == [""] * 5
            continue
        last = max(step for step in STEPS if alive[step])
        then = {0: "10", 10: "30"}.get(last, "")
        assert (record["alive until step"], record["lost by step"]) == (str(last) if then else "", then)
        assert record["came back"] == str(int(not alive[10] and alive[30]))
        for name, step in (("margin then", 0), ("margin now", 30)):
            margin = curve[step][number]["nll_alternative"] - curve[step][number]["nll_answer"]
            assert record[name] == "" if math.isnan(margin) else float(record[name]) == pytest.approx(margin, abs=1e-12)


def test_fates_are_counted_from_the_recorded_answers(made):
    folder, rows = written(made), recorded(made.folder)
    before, *curve = (rows["edited", step, "rewrite"] for step in STEPS)
    counted = [n for n, row in enumerate(curve[0]) if right(row, "exact") and not right(before[n], "exact")]
    alive = [[bool(right(rows[n], "exact")) for n in counted] for rows in curve]
    never_lost = [[all(stage[place] for stage in alive[: t + 1]) for place in range(len(counted))] for t in range(3)]
    for t, record in enumerate(table(folder / "fates_steps.csv")):
        assert (record["step"], record["alive"]) == (str(STEPS[1:][t]), str(sum(alive[t])))
        assert float(record["never lost so far"]) == pytest.approx(fmean(never_lost[t]), abs=1e-12)
    survival = table(folder / "fates_survival.csv")
    assert one(survival, quantity="facts that count")["value"] == str(len(counted))
    assert float(one(survival, quantity="never lost")["value"]) == pytest.approx(fmean(never_lost[2]), abs=1e-12)
    first, second, third = (fmean(stage) for stage in never_lost)
    area = (10 * (first + second) / 2 + 20 * (second + third) / 2) / 30
    assert float(one(survival, quantity="share of the time alive (first)")["value"]) == pytest.approx(area)
    assert one(survival, quantity="at the last probe", fate="alive")["value"] == str(sum(alive[2]))


def test_the_rule_holds_for_all_files_and_what_is_not_known_is_empty(tmp_path):
    first = outcomes([1, 1, 0, 0])
    first.first[2, 0] = 1
    made = run(tmp_path / "a" / "version_0", edited={0: [1, 1, 1, 1], 5: first})
    folder = written(made, Rule.FIRST)
    records = table(folder / "table.csv")
    assert {record["rule"] for record in records} == {"prob", "exact", "first"}
    assert one(records, quantity="retention", rule="first")["value"] == "0.75"
    assert one(records, quantity="half_life")["value"] == "", "it lies behind the last probe"
    assert one(records, quantity="half_life")["rule"] == "first"
    assert one(records, quantity="efficacy", rule="first", stage="before_edit")["value"] == "", "nobody asked"
    assert len(table(folder / "lost_facts.csv")) == 1
    assert one(table(folder / "fates_survival.csv"), quantity="right before the edit")["value"] == ""
    assert all("first" in (folder / f"{name}.tex").read_text() for name in TABLES)


def test_a_later_report_leaves_nothing_of_an_earlier_one(tmp_path):
    folder = written(run(tmp_path / "a", edited={0: [1, 1], 5: [1, 0]}, texts=True))
    assert len(table(folder / "lost_facts.csv")) == 1
    written(run(tmp_path / "a", edited={0: [0, 0], 5: [0, 0]}, texts=True))
    for name, columns in (("lost_facts", LOST_HEADER), ("fates_steps", ("step", "alive"))):
        assert (folder / f"{name}.csv").read_text().startswith(",".join(columns))
        assert table(folder / f"{name}.csv") == latex_rows(folder / f"{name}.tex") == []
    assert [record["fate"] for record in table(folder / "facts.csv")] == ["never taken"] * 2
    control = Run.read(write(tmp_path / "c", {0: [1, 1], 5: [1, 0]}, pool=Pool.UNEDITED))
    assert not list(written(control).glob("lost_facts.*"))


def compared(tmp_path):
    kept = {"a": [1] * 12 + [0] * 8, "b": [1] * 3 + [0] * 17}
    return [
        run(tmp_path / name / "version_0", edited={0: [1] * 20, 10: right}, segment=ended(State.FINISHED, 10, 10))
        for name, right in kept.items()
    ]


def test_a_comparison_has_the_numbers_of_each_run_and_of_each_pair(tmp_path, without_figures):
    runs, folder = compared(tmp_path), tmp_path / "report"
    runs.append(run(tmp_path / "c" / "version_0", edited={0: [1] * 20, 10: [1] * 20}, segment=ended(State.FAILED, 10)))
    rows, _ = report_comparison(runs, folder, Rule.EXACT)
    records = table(folder / "comparison.csv")
    assert tuple(records[0]) == COLUMNS
    kept = {name: one(records, run=name, quantity="retention") for name in "abc"}
    assert [(record["value"], record["facts"]) for record in kept.values()] == [
        ("0.6", "20"),
        ("0.15", "20"),
        ("1.0", "20"),
    ]
    assert [record["mark"] for record in kept.values()] == ["", "", "not finished: 10 of 400"]
    assert len(latex_rows(folder / "comparison.tex")) == len(rows) == 3
    first, second = table(folder / "same_facts.csv")
    counts = ("facts", "both", "this_alone", "other_alone", "neither")
    assert [first[name] for name in counts] == ["20", "3", "0", "9", "8"]
    assert [second[name] for name in counts] == ["20", "12", "8", "0", "0"]
    assert float(first["difference"]) == -0.45
    assert float(first["low"]) < -0.45 < float(first["high"])
    assert (float(first["p"]), float(second["p"])) == (2 / 2**9, 2 / 2**8)
    assert (float(first["p_holm"]), float(second["p_holm"])) == (4 / 2**9, 2 / 2**8)
    assert len(latex_rows(folder / "same_facts.tex")) == 2
    assert not list(folder.glob("comparison_causes.*"))


def test_pairs_of_an_earlier_comparison_go_where_there_are_none(tmp_path, without_figures):
    runs, folder = compared(tmp_path), tmp_path / "report"
    report_comparison(runs, folder)
    assert (folder / "same_facts.csv").exists()
    strange = run(tmp_path / "d" / "version_0", edited={0: [1], 5: [0]}, facts=[request(70)])
    report_comparison([runs[0], strange], folder)
    assert {path.name for path in folder.iterdir()} == {f"comparison.{kind}" for kind in ("png", "md", "csv", "tex")}
    assert "d is not paired with a" in (folder / "comparison.md").read_text()
