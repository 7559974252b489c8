"""The causes of several runs' lost edits side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edit_lit.attribution.file import read_attribution
from edit_lit.attribution.result import Attribution
from edit_lit.attribution.verdict import Verdict
from edit_lit.reports.causes import mean_losses
from edit_lit.reports.run import Run, short_names
from edit_lit.reports.table import Row
from edit_lit.reports.table_files import Table
from edit_lit.utilities.errors import ConfigError

NAME = "comparison_causes"
HEADER: Row = ("run", "at step", "lost edits", *map(str, Verdict), "nats lost by group of parameters")


def compared_causes(runs: Sequence[Run]) -> Table:
    """The causes of the runs' lost edits side by side, with notes.

    Runs of which nobody asked for causes have no row; if it is so of all there is nothing, else a note names them.
    """
    rows, records = [], []
    missing, notes = [], []
    for run, name in zip(runs, short_names(runs), strict=True):
        try:
            found = read_attribution(run.folder)
        except ConfigError as error:
            notes.append(f"{name}: {error}")
            continue
        if found is None:
            missing.append(name)
            continue
        rows.append(_row(name, run, found))
        records.append(_record(name, run, found))
    if rows and missing:
        notes.append(f"not looked for in {', '.join(missing)}: python -m edit_lit explain RUN")
    return Table(NAME, "Why edits were lost", HEADER, rows, records, notes)


def _row(name: str, run: Run, found: Attribution) -> Row:
    counts = Counter(edit.verdict for edit in found.edits)
    means = mean_losses(found) if found.edits else {}
    parts = ", ".join(f"{group} {value:.2f}" for group, value in means.items())
    at = str(found.step) if found.step == run.last_step else f"{found.step} of {run.last_step}"
    return (name, at, str(len(found.edits)), *(str(counts[verdict]) for verdict in Verdict), parts)


def _record(name: str, run: Run, found: Attribution) -> dict[str, object]:
    counts = Counter(edit.verdict for edit in found.edits)
    return {
        "run": name,
        "step": found.step,
        "last_step": run.last_step,
        "edits": len(found.edits),
        **{str(verdict): counts[verdict] for verdict in Verdict},
        **{f"nats_{group}": loss for group, loss in mean_losses(found).items()},
    }
