"""The report of a sweep, from its folder to files and to the terminal."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_sweeps import Answers, requests, write_run, write_sweep
from studies import SEEDS, sample, study

from edit_lit.analysis.band_figure import band_figure
from edit_lit.analysis.bands import MAIN, bands
from edit_lit.analysis.collect import collect
from edit_lit.analysis.panels import pages
from edit_lit.analysis.paper_tables import first_study_table, groups_table, second_study_table
from edit_lit.analysis.study import Study
from edit_lit.analysis.sweep import Sweep
from edit_lit.analysis.sweep_report import SweepOptions, report_sweep
from edit_lit.cli import main
from edit_lit.measures.curve import BEFORE_EDIT
from edit_lit.measures.outcome_files import FOLDER, write_probe
from edit_lit.measures.outcomes import Kind, Pool
from edit_lit.measures.scores import Rule, edit_scores, transition_counts
from edit_lit.reports.run import Run
from edit_lit.reports.run_record import State
from edit_lit.utilities.errors import ConfigError

RATES = {"memit": 0.15, "rome": 0.4, "none": 0.05}
AXES = {"editor": ["memit", "rome", "none"], "lr": ["1e-4", "5e-5"], "seed": SEEDS}
PROMPTS = {Kind.REWRITE: 1, Kind.PARAPHRASE: 2, Kind.NEIGHBORHOOD: 1}


def answers(labels):
    if labels["editor"] == "none" and labels["lr"] == "5e-5":
        return None
    return Answers(RATES[labels["editor"]], final_loss=1.0 if labels["lr"] == "1e-4" else 1.5, prompts=PROMPTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A sweep of five seeds, of which the control was not started at one rate; an arm's run diverged."""
    made = write_sweep(tmp_path_factory.mktemp("sweeps") / "study_$1", AXES, ["seed"], answers, steps=(0, 10, 40))
    run = made / "trials" / "00000005" / "version_1"
    write_run(run, Answers(0.2), 0, requests(12), requests(12, 500), state=State.DIVERGED, steps=(0, 10, 40))
    return made


@pytest.fixture(scope="module")
def results(folder):
    sweep = Sweep.read(folder)
    return Study(sweep, collect(sweep), Rule.EXACT)


def cells(text):
    return [
        [cell.strip() for cell in line.strip("| \n").split(" | ")] for line in text.splitlines() if line[:2] == "| "
    ]


def test_a_report_has_every_table_in_three_forms_and_one_page_with_all(folder, capsys):
    main(["report", str(folder), "--against", "rome, lr=1e-4", "--match", "lr"])
    shown, report = capsys.readouterr().out, folder / "report"
    names = ["arms", "differences", "effects", "scores", "more", "papers", "papers_retention", "groups", "left_out"]
    for name in names:
        assert {path.suffix for path in report.glob(f"{name}.*")} >= {".md", ".csv", ".tex"}
    assert (report / "arms.png").read_bytes()[:4] == b"\x89PNG"
    page = (report / "sweep.md").read_text()
    assert "24 of 30 trials are finished" in page
    assert "1 of 30 trials: diverged" in page
    assert "5 of 30 trials: not started" in page
    assert "4 of 5 (1 diverged)" in page
    assert "![curves](curves.png)" in page
    assert "24 of 30 trials are finished" in shown
    assert "Against editor=rome, lr=1e-4" in shown
    assert all(text in page for text in ("sign-flip", "lr=1e-4 was chosen (of 1e-4, 5e-5)", "| 00000005 |"))
    assert (report / "curves.png").read_bytes()[:4] == b"\x89PNG"
    whole = (report / "sweep.html").read_text()
    assert "24 of 30 trials are finished" in whole
    assert all(address.startswith("data:") for address in re.findall(r'(?:src|href)="([^"]*)', whole))
    assert whole.count("<img") == len([*report.glob("*.svg")]) > 1
    header, *rows = cells((report / "arms.md").read_text())
    assert header[:2] == ["arm", "runs"]
    assert len(rows) - 1 == 5, "an arm without a finished trial has no numbers"
    with (report / "arms.csv").open(newline="") as file:
        records = list(csv.DictReader(file))
    row = next(r for r in records if (r["editor"], r["lr"], r["quantity"]) == ("rome", "1e-4", "retention"))
    runs = [Run.read(folder / "trials" / f"{number:08x}" / "version_0") for number in range(10, 15)]
    kept = [list(run.transitions(Pool.EDITED, Rule.EXACT).values())[-1].retention for run in runs]
    assert float(row["mean"]) == pytest.approx(np.mean(kept))
    assert [float(value) for value in row["values"].split()] == pytest.approx(kept, abs=1e-5)
    assert float(row["low"]) < float(row["mean"]) < float(row["high"])


def test_the_first_study_s_numbers_are_those_of_the_runs(folder, results):
    header, rows = first_study_table(results).header, first_study_table(results).rows
    row = dict(zip(header, next(row for row in rows if row[:2] == ("editor=rome, lr=1e-4", "prob")), strict=True))
    runs = [Run.read(folder / "trials" / f"{number:08x}" / "version_0") for number in range(10, 15)]
    ends = [list(run.curve(Pool.EDITED).values()) for run in runs]
    scores = [(edit_scores(curve[0], Rule.PROB), edit_scores(curve[-1], Rule.PROB)) for curve in ends]
    counts = [transition_counts(curve[0], curve[-1], Rule.PROB) for curve in ends]
    expected = {
        "ES edited": np.mean([before["efficacy"] for before, _ in scores]),
        "PS edited + tuned": np.mean([after["generalization"] for _, after in scores]),
        "NS edited + tuned": np.mean([after["specificity"] for _, after in scores]),
        "EFR": np.mean([count.erased / (count.stable + count.erased) for count in counts]),
        "stable": np.mean([count.stable / 12 for count in counts]),
        "relative decay": np.mean([1 - after["efficacy"] / before["efficacy"] for before, after in scores]),
    }
    for name, value in expected.items():
        assert float(row[name]) == pytest.approx(100 * value, abs=0.051), name
    assert not any(row[0].startswith("editor=none") for row in rows)


def test_a_fact_that_was_right_before_the_edit_counts_in_the_studies_tables_alone(tmp_path):
    folder = write_sweep(tmp_path / "s", {"seed": ["0"]}, ["seed"], lambda _: Answers(0.5))
    read = Sweep.read(folder)
    run = Run.read(read.trials[0].folder / "version_0")
    facts = requests(12)
    write_probe(run.folder / FOLDER, BEFORE_EDIT, {Pool.EDITED: run.curve(Pool.EDITED)[0]}, {Pool.EDITED: facts})
    write_probe(run.folder / FOLDER, 10, {Pool.EDITED: run.curve(Pool.EDITED)[10]}, {Pool.EDITED: facts})
    (result,) = collect(read)
    assert Pool.EDITED not in result.curves
    assert not math.isnan(result.papers[Rule.EXACT].transitions["edit_flip_rate"])


def test_the_second_study_s_retention_stands_side_by_side(results):
    rows = second_study_table(results).rows
    assert [row[0] for row in rows][:2] == ["editor=memit, lr=1e-4", "editor=memit, lr=5e-5"]
    edited, intrinsic, gap = (float(cell.split(" [")[0]) for cell in rows[0][2:])
    assert all(re.fullmatch(r"\S+ \[\S+, \S+\]", cell) for cell in rows[0][2:])
    assert edited < intrinsic
    assert gap == pytest.approx(edited - intrinsic, abs=0.11)


def test_the_four_groups_take_the_control_with_the_same_other_labels(folder, results):
    table = groups_table(results)
    rows = {(row[0], row[1]): row for row in table.rows if row[2] == "exact"}
    control = [Run.read(folder / "trials" / f"{number:08x}" / "version_0") for number in range(20, 25)]
    new = [float(list(r.curve(Pool.UNEDITED).values())[-1].of_kind(Kind.REWRITE).exact[:, 1].mean()) for r in control]
    tuned = rows["editor=rome, lr=1e-4", "fine-tuned"]
    assert float(tuned[4]) == pytest.approx(100 * np.mean(new), abs=0.051)
    assert rows["editor=rome, lr=1e-4", "base"][4] == "0.0"
    assert rows["editor=rome, lr=1e-4", "edited"][4] == "100.0"
    absent = rows["editor=rome, lr=5e-5", "fine-tuned"]
    assert absent[3] == "absent: no finished control trial with the same other labels"
    assert not any(arm.startswith("editor=none") for arm, _ in rows)


def test_a_curve_is_the_mean_over_runs_at_each_step_and_few_runs_have_no_band(folder, results):
    rome, memit = (results.reference(name) for name in ("rome, lr=1e-4", "memit, lr=5e-5"))
    runs = [Run.read(folder / "trials" / f"{number:08x}" / "version_0") for number in range(10, 15)]
    band = bands(results, rome)[MAIN]
    for step, item in zip(band.steps, band.estimates, strict=True):
        kept = [run.transitions(Pool.EDITED, Rule.EXACT)[step].retention for run in runs]
        assert item.mean == pytest.approx(np.mean(kept))
        assert item.low <= item.mean <= item.high
    assert band.steps == (0, 10, 40)
    assert not bands(results, memit)[MAIN].has_band


def test_a_figure_shows_each_line_of_a_panel_and_a_run_of_few_as_a_line(results):
    (page,) = pages(results)
    assert [panel.title for panel in page.panels] == ["lr=1e-4", "lr=5e-5"]
    figure = band_figure(results, page)
    first, second = figure.axes[:2]
    assert len(first.collections) == 3, "three arms of five runs"
    assert len(second.collections) == 1
    assert len(second.get_lines()) == 1 + 4
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["editor=memit", "editor=rome", "editor=none (control)"]
    assert first.get_ylim() == (-0.03, 1.03)


@pytest.mark.parametrize(("labels", "panels", "figures"), [(6, 4, 1), (7, 4, 2), (6, 5, 2), (13, 9, 9)])
def test_no_panel_has_more_than_six_lines_and_no_figure_more_than_four_panels(labels, panels, figures):
    axes = {"editor": [f"e{n}" for n in range(labels)], "lr": [f"l{n}" for n in range(panels)], "seed": ["0"]}
    made = pages(study(axes, lambda _: {"retention": sample([1.0, 0.0])}))
    assert len(made) == figures
    arms = [arm for page in made for panel in page.panels for arm in panel.lines.values()]
    assert len(arms) == len(set(arms)) == labels * panels
    assert all(len(panel.lines) <= 6 for page in made for panel in page.panels)
    assert all(len({line for panel in page.panels for line in panel.lines}) <= 6 for page in made)
    assert all(len(page.panels) <= 4 for page in made)


def test_further_axes_are_never_averaged_over_but_get_figures_of_their_own():
    axes = {"a": ["0", "1"], "b": ["0", "1"], "c": ["0", "1"], "seed": ["0"]}
    made = study(axes, lambda _: {"retention": sample([1.0, 0.0])})
    assert [page.title for page in pages(made)] == ["c=0", "c=1"]
    assert [page.title for page in pages(made, lines="c", panels="a")] == ["b=0", "b=1"]
    with pytest.raises(ConfigError, match="--lines and --panels are both a"):
        pages(made, "a", "a")


MISTAKES = {
    "no such arm": (["--against", "ft"], "--against 'ft' is no arm of the sweep. Name one of: editor=memit, lr=1e-4;"),
    "no such axis": (["--match", "seed"], "--match 'seed' is no axis on which arms differ. These are: editor, lr"),
    "no such lines": (["--lines", "x"], "--lines 'x' is no axis"),
    "several": (["."], "holds a sweep, which is reported by itself. Name it alone"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_before_anything_is_read(folder, capsys, mistake, monkeypatch):
    monkeypatch.setattr("edit_lit.analysis.sweep_report.collect", None)
    options, message = MISTAKES[mistake]
    with pytest.raises(SystemExit, match="error") as caught:
        main(["report", str(folder), *options])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_options_of_sweeps_are_for_sweeps(tmp_path, capsys):
    with pytest.raises(SystemExit, match="--match is 'lr', but .* holds no trials.json, so it is no sweep"):
        main(["report", str(tmp_path), "--match", "lr"])
    with pytest.raises(ConfigError, match="holds no trials.json, so it is no sweep"):
        report_sweep(tmp_path)


def test_a_sweep_of_which_nothing_is_finished_still_tells_what_became_of_its_trials(tmp_path):
    folder = write_sweep(tmp_path / "s", {"seed": ["0", "1"]}, ["seed"], lambda _: None)
    with pytest.raises(ConfigError, match=r"none of the trials of the sweep in .* is finished \(2 not started\)"):
        report_sweep(folder)
    assert (folder / "trials.csv").read_text().count("not started") == 2


def test_a_rule_that_was_not_recorded_is_one_line(tmp_path):
    folder = write_sweep(tmp_path / "s", {"seed": ["0"]}, ["seed"], lambda _: Answers(), steps=(0, 10))
    for path in (folder / "trials").rglob(f"{FOLDER}/*.parquet"):
        table = pq.read_table(path)
        for name, value in (("nll_alternative", math.nan), ("exact_alternative", 0.0)):
            gone = pa.array([value] * table.num_rows)
            table = table.set_column(table.schema.get_field_index(name), name, gone)
        pq.write_table(table, path)
    with pytest.raises(ConfigError, match="--rule prob: no fact of the finished trials can be judged by it"):
        report_sweep(folder, SweepOptions(Rule.PROB))
    assert report_sweep(folder, SweepOptions(Rule.EXACT)).tables


def test_names_that_mean_something_elsewhere_are_shown_as_they_are(tmp_path):
    axes = {"editor": ["a|b", "$x_1$ [y]"], "seed": ["0"]}
    folder = write_sweep(tmp_path / "s*", axes, ["seed"], lambda _: Answers(0.3), steps=(0, 10))
    report = report_sweep(folder).folder
    assert r"a\|b" in (report / "arms.md").read_text()
    assert r"\$x\_1\$ {[}y{]}" in (report / "arms.tex").read_text()
    assert Path(report, "curves.png").is_file()
