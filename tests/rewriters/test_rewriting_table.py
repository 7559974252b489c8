"""Which rewriting brings back what, against a plain loop."""

from __future__ import annotations

import math

import torch

from edit_lit.measures.outcomes import Outcomes
from edit_lit.measures.scores import Rule
from edit_lit.rewriters.table import Rewriting, Rewritings, cause_rows, lines
from edit_lit.surgery.lines import rows
from edit_lit.surgery.stages import Stage


def stage(right):
    """A rewrite question of each fact, answered or not; none of it is a number where nothing else is said."""
    count = torch.arange(len(right))
    pair = torch.tensor([[float(one or 0), 0.0] for one in right], dtype=torch.float64)
    nll = torch.tensor([[math.nan if one is None else 1.0, 2.0] for one in right], dtype=torch.float64)
    return Stage(
        Outcomes(count, count * 0, count * 0, nll=nll, exact=pair, token=pair, first=pair), Outcomes.empty(), {}
    )


BEFORE = [0, 0, 0, 0, 0, 0, 0, 1]
EDITED = [1, 1, 1, 1, 1, 1, 0, 1]
TUNED = [1, 0, 0, 0, 0, 1, 0, 0]
WRITES = [1, 1, 0, 0, 0, 0, 0, 1]
VALUES = [1, 0, 1, 0, 0, 1, 1, 1]
AGAIN = [1, 1, 1, 1, None, 1, 1, 1]
WAYS = {"writes": WRITES, "values": VALUES, "again": AGAIN}


def rewritings(edited=EDITED):
    each = [
        Rewriting(name.title(), name, f"lost by {name}", stage(right), 0.5, {"w": 0.5}, "did")
        for name, right in WAYS.items()
    ]
    each.append(Rewriting("Other", "other", None, stage([1] * 8), math.nan, {}, "did"))
    return Rewritings(stage(BEFORE), None if edited is None else stage(edited), stage(TUNED), each)


def test_each_lost_edit_counts_for_the_first_that_tells_its_cause():
    found = rewritings()
    lost = [i for i in range(8) if not BEFORE[i] and EDITED[i] and not TUNED[i]]
    assert lost == [1, 2, 3, 4]
    expected = {i: next((place for place, right in enumerate(WAYS.values()) if right[i] == 1), None) for i in lost}
    assert found.first_back(Rule.EXACT) == expected == {1: 0, 2: 1, 3: 2, 4: None}
    assert cause_rows(found, Rule.EXACT) == [
        ("writes", "1", "lost by writes"),
        ("values", "1", "lost by values"),
        ("again", "1", "lost by again"),
        ("none of them", "1", ""),
    ]


def test_lost_and_other_edits_are_told_apart():
    table = {line.label: line.cells for line in lines(rewritings(), Rule.EXACT)}
    lost, others = table["lost edits that are right again (exact)"], table["others that still are (exact)"]
    assert [cell.value for cell in lost[2:]] == [1 / 4, 1 / 4, 3 / 4, 1]
    assert [cell.facts for cell in lost[2:]] == [4] * 4
    assert [cell.value for cell in others[2:]] == [1 / 2, 1, 1, 1]
    efficacy = table["efficacy, the new object (exact)"]
    assert [cell.value for cell in efficacy[:4]] == [7 / 8, 2 / 8, 3 / 8, 5 / 8]
    assert efficacy[4].not_numbers == 1, "what is not a number is no share"
    sizes = table["‖change‖/‖W‖ of what was changed"]
    assert [math.isnan(cell.value) for cell in sizes] == [True, True, False, False, False, True]
    header = ["after the edit", "after fine-tuning", "writes", "values", "again", "other"]
    assert [*rewritings().stages] == header
    assert all(len(row) == len(header) + 1 for row in rows(lines(rewritings(), Rule.EXACT)))


def test_a_run_that_edited_nothing_lost_nothing():
    found = rewritings(edited=None)
    assert [*found.stages][:2] == ["before fine-tuning", "after fine-tuning"]
    assert found.lost(Rule.EXACT) is None
    assert found.first_back(Rule.EXACT) == {}
    assert not any("lost edits" in line.label for line in lines(found, Rule.EXACT))
