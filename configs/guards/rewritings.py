"""What came of rewriting several runs: means over runs with 95 % intervals, a table for each order.

Run in ``configs/``: ``python -m guards.rewritings FILE …``, the ``rewriting.json`` that ``rewrite`` wrote for each run.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edit_lit.analysis.bootstrap import estimate
from edit_lit.reports.table import Row, markdown_table
from edit_lit.utilities.errors import ConfigError

COLUMNS = {
    "efficacy, the new object": "efficacy, %",
    "generalization, the new object": "generalization, %",
    "specificity": "specificity, %",
    "intrinsic facts": "intrinsic facts, %",
    "downstream loss": "loss",
    "downstream accuracy": "accuracy, %",
}
"""What is shown, by its name in the files, where a rule in brackets may stand behind it."""

Numbers = Mapping[tuple[str, str], float | None]


def rewritings(files: Sequence[str]) -> str:
    """The tables, as Markdown.

    Args:
        files: The files, of one rule.

    Raises:
        ConfigError: If there are none, they are of several rules, or two are of one run.
    """
    if not files:
        raise ConfigError("no file is named. Name the rewriting.json of one run or more.")
    contents = [json.loads(Path(file).read_text(encoding="utf-8")) for file in files]
    rules = sorted({content["rule"] for content in contents})
    if len(rules) > 1:
        raise ConfigError(f"the files are of the rules {', '.join(rules)}. Name those of one.")
    doubled = [run for run, count in Counter(content["run"] for content in contents).items() if count > 1]
    if doubled:
        raise ConfigError(f"two files are of {doubled[0]}. Name one of them.")
    orders = {"edited first": True, "fine-tuned unedited": False}
    found = {name: [one for one in contents if one["edited_first"] is first] for name, first in orders.items()}
    return "\n".join(_of_order(name, some) for name, some in found.items() if some)


def _of_order(name: str, contents: Sequence[Mapping[str, Any]]) -> str:
    runs = [_numbers(content) for content in contents]
    stages = list(dict.fromkeys(stage for run in runs for _, stage in run))
    rows: list[Row] = [(stage, *(_cell(runs, quantity, stage) for quantity in COLUMNS)) for stage in stages]
    parts = [f"## {name}, {len(runs)} runs", "", markdown_table(("", *COLUMNS.values()), rows)]
    first = Counter(edit["by"] or "none of them" for content in contents for edit in content["first_back"])
    if first:
        parts.append(f"lost edits by what is the first to bring them back: {dict(first)}\n")
    return "\n".join(parts)


def _numbers(content: Mapping[str, Any]) -> Numbers:
    rule = f" ({content['rule']})"
    return {(item["quantity"].removesuffix(rule), item["stage"]): item["value"] for item in content["numbers"]}


def _cell(runs: Sequence[Numbers], quantity: str, stage: str) -> str:
    values = [value for run in runs if (value := run.get((quantity, stage))) is not None]
    if len(values) < len(runs):
        return f"{len(values)} runs have it" if values else ""
    found = estimate([np.array([value]) for value in values])
    scale, digits = (1, 3) if quantity == "downstream loss" else (100, 1)
    shown = f"{scale * found.mean:.{digits}f}"
    return f"{shown} [{scale * found.low:.{digits}f}, {scale * found.high:.{digits}f}]" if found.has_interval else shown


if __name__ == "__main__":
    print(rewritings(sys.argv[1:]))
