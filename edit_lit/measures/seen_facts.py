"""Which facts guards learn from in a run, on disk, so that these are told apart from those that no guard has seen."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from edit_lit.utilities.files import write_atomically

FILE = "guards.json"


def write_seen(folder: Path, facts: Iterable[str]) -> None:
    """Write the facts that guards learn from into a run's folder; nothing if there are none.

    Args:
        folder: The run's folder.
        facts: The facts, by :func:`~edit_lit.facts.request.fact_hash`.
    """
    seen = sorted(facts)
    if seen:
        text = json.dumps({"seen": seen}, indent=1)
        write_atomically(folder / FILE, lambda path: path.write_text(text))


def read_seen(folder: Path) -> frozenset[str]:
    """The facts that a guard learnt from in a run, by :func:`~edit_lit.facts.request.fact_hash`; empty if none did."""
    path = folder / FILE
    return frozenset(json.loads(path.read_text())["seen"]) if path.is_file() else frozenset()
