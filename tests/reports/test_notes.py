from __future__ import annotations

from run_samples import SEEDS, ended, outcomes, request, run

from edit_lit.language_model.generation import Continuation
from edit_lit.measures.answers import FOLDER as ANSWERS
from edit_lit.measures.answers import write_answers
from edit_lit.measures.curve import BEFORE_EDIT
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import Rule
from edit_lit.reports.lost_facts import lost_facts
from edit_lit.reports.notes import comparison_notes, run_notes
from edit_lit.reports.report import lost_facts_markdown
from edit_lit.reports.run_record import State
from edit_lit.reports.table import run_table

BEFORE = [1] * 56 + [0] * 44
AFTER = [1] * 59 + [0] * 41


def finished(**changes):
    return ended(State.FINISHED, 25, 25, **changes)


def test_an_edit_that_did_not_take_comes_first(tmp_path):
    weak = run(tmp_path, edited={BEFORE_EDIT: BEFORE, 0: AFTER, 25: AFTER}, segment=ended(State.INTERRUPTED, 30))
    assert run_notes(weak)[0] == (
        "the edit did not take: 3 of 100 facts are right after it that were not before (exact)"
    )
    assert comparison_notes([weak], ["weak"])[0].startswith("weak: the edit did not take: 3 of 100")


def test_an_edit_that_took_says_nothing_also_if_there_was_little_to_do(tmp_path):
    half = run(tmp_path / "a", edited={BEFORE_EDIT: [0, 0], 0: [1, 0]}, segment=finished())
    assert not any("take" in note for note in run_notes(half))
    few = run(tmp_path / "b", edited={BEFORE_EDIT: [1] * 9 + [0], 0: [1] * 10}, segment=finished())
    assert not any("take" in note for note in run_notes(few))
    none = run(tmp_path / "c", edited={BEFORE_EDIT: [1, 1], 0: [1, 1]}, segment=finished())
    assert run_notes(none)[0].startswith("the edit did not take: 0 of 2")


def test_facts_that_were_right_before_the_edit_have_a_row_and_no_part_in_retention(tmp_path):
    # All that was right before stays right; of the three that the edit made right one is lost.
    now = [1] * 56 + [1, 1, 0] + [0] * 41
    weak = run(tmp_path, edited={BEFORE_EDIT: BEFORE, 0: AFTER, 25: now}, segment=finished())
    table = {row[0]: row[1:] for row in run_table(weak)}
    assert table["right before the edit, not counted (exact)"] == ("56 of 100", "", "")
    assert table["retention, edited (exact)"][-1].startswith("66.7%")
    assert table["retention, edited (exact)"][-1].endswith("of 3")
    clean = run(tmp_path / "clean", segment=finished())
    assert not any("not counted" in row[0] for row in run_table(clean))


def test_seeds_are_named_and_compared(tmp_path):
    first = run(tmp_path / "a", segment=finished())
    same = run(tmp_path / "b", segment=finished())
    other = run(tmp_path / "c", segment=finished(seeds=SEEDS | {"seed_everything": 1, "data.seed": 1}))
    old = run(tmp_path / "d")
    assert comparison_notes([first, same], ["a", "b"]) == []
    assert comparison_notes([first, same, other], ["a", "b", "c"]) == [
        "the runs differ in seeds: a, b with seed 0: data order 0, edits 4, intrinsic 101; "
        "c with seed 1: data order 1, edits 4, intrinsic 101"
    ]
    assert comparison_notes([first, old], ["a", "d"]) == [
        "whether they finished, and their seeds, are not recorded (no run.json): d"
    ]
    unseeded = run(tmp_path / "e", segment=finished(seeds={"seed_everything": None}))
    assert run_notes(unseeded) == ["no global seed"]


def test_lost_facts_say_what_was_asked_and_what_became_of_them(tmp_path):
    curve = {
        BEFORE_EDIT: [0, 0, 0, 0, 1],
        0: [1, 1, 1, 1, 1],
        5: [1, 0, 1, 0, 1],
        10: [1, 0, 1, 1, 1],
        15: outcomes([1, 0, 0, 0, 0], reverted=[1, 4]),
    }
    shown = run(tmp_path, edited=curve, segment=ended(State.FINISHED, 15, 15), texts=True)
    words = [Continuation(text, 2, ended=False) for text in ("west .", " east\n.", " the north .", "", "")]
    write_answers(tmp_path / ANSWERS, 15, {Pool.EDITED: words}, {Pool.EDITED: [request(n) for n in range(5)]})
    assert lost_facts(shown) == [
        ("city 1 lies in the", "west", "reverted to east", "5"),
        ("city 2 lies in the", "west", "displaced by the north . …", "15"),
        ("city 3 lies in the", "west", "displaced by …", "15"),
    ]
    last = shown.transitions(Pool.EDITED, Rule.EXACT)[15]
    assert (last.erased, last.reverted, last.displaced) == (3, 1, 2)
    assert lost_facts_markdown(shown, most=1).startswith("3 facts that the edit made right are lost at step 15")
    assert lost_facts_markdown(shown, most=1).count("city") == 1
    kept = run(tmp_path / "kept", edited={0: [1], 5: [1]})
    assert lost_facts_markdown(kept) == "No fact that the edit made right is lost at step 5 (exact).\n"
    older = run(tmp_path / "older", edited=curve)
    assert lost_facts(older) == [
        ("city 1", "", "reverted", "5"),
        ("city 2", "", "displaced", "15"),
        ("city 3", "", "displaced", "15"),
    ]
