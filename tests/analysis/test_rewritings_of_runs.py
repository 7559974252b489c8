"""Means over runs of what rewriting brought back, against a plain loop."""

from __future__ import annotations

import json

import pytest
from guards.rewritings import rewritings

from edit_lit.utilities.errors import ConfigError


def file(folder, number, first=True, rule="exact", run=None, **values):
    """What ``rewrite`` writes of a run, with made-up numbers."""
    numbers = [
        {"quantity": f"efficacy, the new object ({rule})", "stage": stage, "value": value}
        for stage, value in values.items()
    ]
    numbers.append({"quantity": "downstream loss", "stage": "tuned", "value": 1.0 + number / 10})
    by = ["EditAgain", None] if first else []
    content = {
        "run": run or f"run {number}",
        "rule": rule,
        "edited_first": first,
        "numbers": numbers,
        "first_back": [{"question": "q", "by": way} for way in by],
    }
    path = folder / f"{number}.json"
    path.write_text(json.dumps(content))
    return str(path)


def test_each_order_has_means_over_its_runs(tmp_path):
    kept = [0.5, 0.75, 1.0, 0.25, 0.5]
    files = [file(tmp_path, n, tuned=value, again=1.0) for n, value in enumerate(kept)]
    files += [file(tmp_path, 10 + n, first=False, added=value) for n, value in enumerate([0.2, 0.4])]
    first, second = rewritings(files).split("## ")[1:]
    assert first.startswith("edited first, 5 runs")
    (tuned,) = [line for line in first.splitlines() if line.startswith("| tuned")]
    assert f"| {100 * sum(kept) / 5:.1f} [" in tuned
    assert "| 1.200 [" in tuned
    low, high = (float(end) for end in tuned.split("[")[1].split("]")[0].split(","))
    assert 100 * min(kept) < low < 100 * sum(kept) / 5 < high < 100 * max(kept)
    assert "{'EditAgain': 5, 'none of them': 5}" in first
    assert second.startswith("fine-tuned unedited, 2 runs")
    (added,) = [line for line in second.splitlines() if line.startswith("| added")]
    assert "| 30.0 |" in added, "two runs have no interval"


def test_what_some_runs_lack_is_no_mean(tmp_path):
    files = [file(tmp_path, 0, tuned=1.0), file(tmp_path, 1, tuned=None)]
    assert "1 runs have it" in rewritings(files)


def test_files_that_do_not_go_together_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no file is named"):
        rewritings([])
    with pytest.raises(ConfigError, match="of the rules exact, prob"):
        rewritings([file(tmp_path, 0, tuned=1.0), file(tmp_path, 1, rule="prob", tuned=1.0)])
    with pytest.raises(ConfigError, match="two files are of run 0"):
        rewritings([file(tmp_path, 0, tuned=1.0), file(tmp_path, 1, run="run 0", tuned=1.0)])
