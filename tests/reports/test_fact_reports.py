"""What the reports say of the facts of a run and of runs over the same facts."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from run_samples import BROKEN, ended, outcomes, request, run, write

from edit_lit.language_model.generation import Continuation
from edit_lit.measures.answers import FOLDER as ANSWERS
from edit_lit.measures.answers import write_answers
from edit_lit.measures.curve import BEFORE_EDIT
from edit_lit.measures.fates import FATES, Fate
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.question_files import FILE as QUESTIONS
from edit_lit.measures.scores import Rule
from edit_lit.reports.facts_table import FACTS_HEADER, facts_table
from edit_lit.reports.fates_figure import COLORS, fact_map
from edit_lit.reports.fates_table import steps_table, survival_table
from edit_lit.reports.notes import comparison_notes
from edit_lit.reports.paired_table import PAIRED_HEADER, paired_table
from edit_lit.reports.report import facts_markdown, fate_figures, fates_markdown, report_comparison, report_run
from edit_lit.reports.run import Run
from edit_lit.reports.run_record import State
from edit_lit.reports.table import comparison_table, run_table
from edit_lit.utilities.errors import ConfigError

CURVE = {
    BEFORE_EDIT: [0, 0, 0, 0, 0, 1],
    0: [1, 1, 1, 1, 0, 1],
    10: outcomes([1, 0, 0, 1, 0, 1], reverted=[1]),
    20: outcomes([1, 0, 1, 0, 1, 0], reverted=[3]),
}


def whole(folder, **options):
    made = run(folder, **{"edited": CURVE, "segment": ended(State.FINISHED, 20, 20), "texts": True, **options})
    words = [Continuation(f" word {number}", 2, number == 0) for number in range(6)]
    write_answers(made.folder / ANSWERS, 20, {Pool.EDITED: words}, {Pool.EDITED: [request(n) for n in range(6)]})
    return made


def test_every_fact_has_its_row(tmp_path):
    rows = [dict(zip(FACTS_HEADER, row, strict=True)) for row in facts_table(whole(tmp_path))]
    columns = ("subject", "fate", "lost between steps", "came back", "answers now")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("city 1", "displaced", "0 and 10", "", "word 1 …"),
        ("city 3", "reverted", "10 and 20", "", "word 3 …"),
        ("city 2", "alive", "", "1×", "word 2 …"),
        ("city 0", "alive", "", "", "word 0"),
        ("city 4", "never taken", "", "", "word 4 …"),
        ("city 5", "right before the edit", "", "", "word 5 …"),
    ]
    assert rows[1]["question"] == "city 3 lies in the"
    assert (rows[1]["right answer"], rows[1]["the other object"]) == ("west", "east")
    assert (rows[1]["margin then"], rows[1]["margin now"]) == ("+1.00", "-1.00")


def test_steps_and_survival_are_counted_by_hand(tmp_path):
    fates = whole(tmp_path).fates(Pool.EDITED, Rule.EXACT)
    assert steps_table(fates) == [
        ("0", "4", "0", "0", "0", "0", "0", "100.0%"),
        ("10", "2", "1", "1", "0", "2", "0", "50.0%"),
        ("20", "2", "1", "1", "0", "1", "1", "25.0%"),
    ]
    table = dict(survival_table(fates))
    assert table["facts that count"] == "4 of 6"
    assert table["do not count"] == "1 never taken, 1 right before the edit"
    assert table["deaths, returns"] == "3, 1"
    assert (table["first lost as reverted"], table["first lost as displaced"]) == ("50.0%", "25.0%")
    # Each fact: 20, 5, 5 and 15 of 20 steps until the first loss; 20, 5, 10 and 15 alive.
    assert table["survival (RMST): share of the time until the first loss"] == "0.562"
    assert table["share of the time alive, returns included"] == "0.625"
    assert (table["half-life of first losses"], table["half-life, returns included"]) == ("step 10", "step 10")
    kept = run(tmp_path / "kept", edited={0: [1, 1], 30: [1, 1]}).fates(Pool.EDITED, Rule.EXACT)
    assert dict(survival_table(kept))["half-life of first losses"] == "> 30"


def test_a_run_that_diverged_breaks_its_facts_and_its_last_table_does_not(tmp_path):
    curve = {BEFORE_EDIT: [0, 0], 0: [1, 1], 1: [1, 0], 2: [BROKEN, BROKEN]}
    diverged = run(tmp_path, edited=curve, texts=True)
    fates = diverged.fates(Pool.EDITED, Rule.EXACT)
    assert fates.last == [Fate.BROKEN, Fate.BROKEN]
    assert dict(survival_table(fates))["first lost as broken"] == "50.0%"
    assert [row[5] for row in facts_table(diverged)] == ["displaced", "alive"]


def test_pages_and_figures_of_all_facts_are_written(tmp_path):
    folder = report_run(whole(tmp_path))
    names = {"curve.png", "table.md", "lost_facts.md"} | {
        f"{name}.{kind}" for name in ("fates", "facts") for kind in ("md", "png", "svg")
    }
    assert {path.name for path in folder.iterdir() if path.suffix not in (".csv", ".tex")} == names
    assert "| 10 | 2 | 1 | 1 | 0 | 2 | 0 | 50.0% |" in (folder / "fates.md").read_text()
    assert "| city 3 | city 3 lies in the | west | east | word 3 … | reverted |" in (folder / "facts.md").read_text()


def test_a_run_without_texts_or_without_a_second_probe_is_reported(tmp_path):
    page = facts_markdown(run(tmp_path / "older", edited=CURVE))
    assert "| city 1 |  |  |  |  | displaced | 0 and 10 |" in page
    assert "was not recorded at this step" in page
    begun = report_run(run(tmp_path / "begun", edited={0: [1, 0]}, texts=True))
    assert not list(begun.glob("fates.png"))
    assert "| 0 | 1 | 0 | 0 | 0 | 0 | 0 | 100.0% |" in (begun / "fates.md").read_text()
    nothing = run(tmp_path / "nothing", edited={0: [0, 0], 5: [0, 0]}, texts=True)
    fates = nothing.fates(Pool.EDITED, Rule.EXACT)
    assert "| facts that count | 0 of 2 |" in fates_markdown(nothing, fates, Rule.EXACT)
    assert fate_figures(nothing, fates, Rule.EXACT) == {}


def test_texts_of_other_facts_are_refused(tmp_path):
    made, other = whole(tmp_path / "a"), run(tmp_path / "b", facts=[request(9)] * 4, texts=True)
    (other.folder / QUESTIONS).rename(made.folder / QUESTIONS)
    with pytest.raises(ConfigError, match=r"questions.parquet is of other facts than .*retention.parquet. Delete it"):
        facts_table(Run.read(made.folder))


def test_the_map_shows_each_fact_in_the_order_of_its_death(tmp_path):
    made = whole(tmp_path)
    fates = made.fates(Pool.EDITED, Rule.EXACT)
    (axes,) = fact_map(made, fates, Rule.EXACT).axes
    shown = [[FATES[place] for place in row] for row in axes.images[0].get_array()]
    alive, reverted, displaced = Fate.ALIVE, Fate.REVERTED, Fate.DISPLACED
    assert shown == [
        [alive, reverted, displaced],
        [alive, alive, reverted],
        [alive, displaced, alive],
        [alive, alive, alive],
    ]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["city 1", "city 3", "city 2", "city 0"]


def lab(color, seen):
    """A color as somebody sees it, in CIE Lab."""
    channel = np.array([int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(channel <= 0.04045, channel / 12.92, ((channel + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
    xyz = to_xyz @ np.clip(seen @ linear, 0, 1) / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


VISIONS = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
"""Machado, Oliveira and Fernandes, IEEE Transactions on Visualization and Computer Graphics 15 (2009)."""


@pytest.mark.parametrize("vision", VISIONS)
def test_the_colors_of_fates_are_told_apart_by_everybody(vision):
    seen = [lab(color, np.array(VISIONS[vision])) for color in COLORS.values()]
    assert min(math.dist(first, second) for first, second in combinations(seen, 2)) > 25


def test_two_runs_over_the_same_facts_are_paired_fact_by_fact(tmp_path):
    kept, lost = [1] * 12 + [0] * 8, [1] * 3 + [0] * 17
    first = run(tmp_path / "a" / "version_0", edited={0: [1] * 20, 10: kept, 20: kept})
    facts = [request(number) for number in range(19, -1, -1)]
    second = run(tmp_path / "b" / "version_0", edited={0: [1] * 20, 10: lost[::-1]}, facts=facts)
    rows, notes = paired_table([first, second])
    (row,) = [dict(zip(PAIRED_HEADER, row, strict=True)) for row in rows]
    assert (row["run"], row["against"], row["at step"], row["facts in both"]) == ("b", "a", "10", "20")
    counts = ("kept by both", "by this alone", "by the other alone", "by neither")
    assert [row[name] for name in counts] == ["3", "0", "9", "8"]
    assert row["difference [95 %]"].startswith("-45.0 [-6")
    assert row["p"] == row["p (Holm)"] == f"{2 / 2**9:.4f}"
    assert any("over facts: they say nothing of other seeds" in note for note in notes)
    assert "b and a are compared at step 10: a ends at step 20" in notes
    assert "the runs were probed last at other steps: a at 20, b at 10" in comparison_notes([first, second], "ab")
    report_comparison([first, second], tmp_path / "report")
    assert "| b | a | 10 | 20 | 3 | 0 | 9 | 8 | -45.0" in (tmp_path / "report" / "comparison.md").read_text()


def test_several_runs_are_adjusted_for_their_number(tmp_path):
    curves = {"a": [1] * 10, "b": [0] * 6 + [1] * 4, "c": [0] * 10}
    runs = [run(tmp_path / name / "version_0", edited={0: [1] * 10, 5: end}) for name, end in curves.items()]
    rows, _ = paired_table(runs)
    values = [tuple(map(float, row[-2:])) for row in rows]
    exact = [2 / 2**6, 2 / 2**10]
    assert [value for value, _ in values] == pytest.approx(exact, abs=1e-4)
    assert [value for _, value in values] == pytest.approx([exact[0], 2 * exact[1]], abs=1e-4)


def test_what_cannot_be_compared_is_marked(tmp_path):
    edited = run(tmp_path / "a" / "version_0", edited={0: [1, 1], 5: [1, 0]})
    other = run(tmp_path / "b" / "version_0", edited={0: [1, 1], 5: [1, 0]}, facts=[request(1), request(7)])
    control = Run.read(write(tmp_path / "c" / "version_0", {0: [1, 1], 5: [1, 0]}, pool=Pool.UNEDITED))
    strange = run(tmp_path / "d" / "version_0", edited={0: [1], 5: [0]}, facts=[request(70)])
    rows, notes = paired_table([edited, other, control, strange])
    assert [row[:4] for row in rows] == [("b", "a", "5", "1")]
    assert "c is not paired with a: one of them edits and the other does not" in " ".join(notes)
    assert "d is not paired with a: they have no fact in common that counts in both" in notes
    assert "other facts: b shares 1 of its 2 with a" in comparison_notes([edited, other], "ab")
    assert not any("other" in note for note in comparison_notes([edited, control], "ac"))


def test_facts_that_the_rule_cannot_judge_are_counted(tmp_path):
    rows = outcomes([1, 1, 1])
    rows.nll[2, 1] = math.nan
    made = run(tmp_path / "a" / "version_0", edited={0: rows, 5: rows}, texts=True)
    assert [row[5] for row in facts_table(made, Rule.PROB)] == ["alive", "alive", "not judged by prob"]
    line = "a: 1 facts cannot be judged by prob, for they have no old object"
    assert line in comparison_notes([made], ["a"], rule=Rule.PROB)


def test_the_rule_holds_for_every_table(tmp_path):
    first = outcomes([0, 0, 1, 1])
    first = replace(first, first=first.first.clone())
    first.first[0, 0] = 1
    made = run(tmp_path / "a" / "version_0", edited={0: [1, 1, 1, 1], 5: first})
    assert comparison_table([made])[0][2] == "100.0% → 50.0%"
    assert comparison_table([made], Rule.FIRST)[0][2] == "100.0% → 75.0%"
    table = {row[0]: row[1:] for row in run_table(made, Rule.FIRST)}
    assert table["efficacy (first)"][-1] == "75.0%"
    assert table["half-life (first)"][-1] == "beyond step 5"
    assert "half-life" not in table
    assert {row[0] for row in run_table(made)} <= {*table, "half-life", "erased: reverted / displaced"}
    notes = comparison_notes([made], ["a"], rule=Rule.FIRST)
    assert notes[0] == "scores are by the rule first"


def test_a_control_goes_back_to_nothing(tmp_path):
    rows = outcomes([1, 0], reverted=[1])
    control = Run.read(write(tmp_path, {0: [1, 1], 5: rows}, pool=Pool.UNEDITED, texts=True))
    assert [row[5] for row in facts_table(control)] == ["displaced", "alive"]
    assert facts_table(control)[0][2:4] == ("east", "west")
    assert not any("reverted" in row[0] for row in run_table(control))
