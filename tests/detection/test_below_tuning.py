"""The tables of what is found below a fine-tuning count what was flagged, run by run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from detection import below_tuning as module
from detection.below_tuning import HELD_OUT, QUESTIONED, SAME_SUBJECT, Looked, answers_rows, below_tuning

from edit_lit.utilities.errors import ConfigError


def looked(arm, questioned, tells, edited=True):
    groups = {QUESTIONED: questioned, SAME_SUBJECT: [True, False], HELD_OUT: [False] * 4}
    flags = {name: SimpleNamespace(flagged=flagged) for name, flagged in groups.items()}
    return Looked(arm, edited, [], None, flags, tells)


def test_facts_that_look_edited_are_counted_for_each_run():
    runs = [looked("MEMIT", [True, True, False, False], [True, False, False, True]) for _ in range(5)]
    runs.append(looked("no edit", [False, True], [False, False], edited=False))
    rows = {(arm, facts): (mean, counts) for arm, facts, mean, counts in answers_rows(runs)}
    mean, counts = rows["MEMIT", QUESTIONED]
    assert counts == ", ".join(["2/4"] * 5)
    assert mean.startswith("50.0 [")
    assert rows["MEMIT", SAME_SUBJECT][1].startswith("1/2")
    assert rows["MEMIT", HELD_OUT][0].startswith("0.0")
    assert rows["MEMIT", f"{QUESTIONED}: the new object is told"][1].startswith("1/2")
    assert rows["no edit", QUESTIONED] == ("50.0", "1/2"), "one run has no interval"
    assert ("no edit", f"{QUESTIONED}: the new object is told") not in rows


def test_runs_without_an_edit_are_what_the_others_stand_beside(monkeypatch):
    monkeypatch.setattr(module, "_look_into", lambda folder, release: looked("MEMIT", [True], [True], folder != "0"))
    with pytest.raises(ConfigError, match="1 of the runs have no edit"):
        below_tuning(["0", "1", str(Path("2"))])
