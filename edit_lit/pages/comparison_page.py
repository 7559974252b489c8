"""The page of several runs side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edit_lit.attribution.file import read_attribution
from edit_lit.attribution.verdict import Verdict
from edit_lit.measures.scores import Rule
from edit_lit.pages.html import bullets, image, page, section, table
from edit_lit.reports.causes import mean_losses
from edit_lit.reports.figure import comparison_figure
from edit_lit.reports.figure_files import vector
from edit_lit.reports.notes import comparison_notes
from edit_lit.reports.paired_table import PAIRED_HEADER, paired_table
from edit_lit.reports.run import Run, short_names
from edit_lit.reports.table import COMPARISON_HEADER, Row, comparison_table
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.files import write_atomically

PAGE = "comparison.html"
CAUSES_HEADER: Row = ("run", "at step", "lost edits", *map(str, Verdict), "nats lost by group of parameters")


def write_comparison_page(
    runs: Sequence[Run], folder: Path, rule: Rule = Rule.EXACT, left_out: Sequence[str] = ()
) -> Path:
    """Write ``comparison.html`` into a folder.

    Args:
        runs: The runs.
        folder: Where the page goes.
        rule: The success rule of tables and figures.
        left_out: Why other runs are not among them, a line each.

    Returns:
        The page's path.
    """
    names = short_names(runs)
    pairs, of_pairs = paired_table(runs, rule)
    causes, of_causes = causes_table(runs)
    content = page(
        "Which edits survived?",
        bullets(comparison_notes(runs, names, left_out, rule)),
        section("The runs", table(COMPARISON_HEADER, comparison_table(runs, rule), sortable=True)),
        section("Over the steps", image(vector(comparison_figure(runs, rule)), f"Retention by the rule {rule}.")),
        section("The same facts", table(PAIRED_HEADER, pairs, sortable=True), bullets(of_pairs)),
        section("Why edits were lost", table(CAUSES_HEADER, causes, sortable=True), bullets(of_causes)),
    )
    path = folder / PAGE
    write_atomically(path, lambda temporary: temporary.write_text(content, encoding="utf-8"))
    return path


def causes_table(runs: Sequence[Run]) -> tuple[list[Row], list[str]]:
    """The causes of the runs' lost edits side by side, in the columns of ``CAUSES_HEADER``, and notes.

    Runs of which nobody asked for causes have no row; if it is so of all there is nothing, else a note names them.
    """
    rows: list[Row] = []
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
        counts = Counter(edit.verdict for edit in found.edits)
        means = mean_losses(found) if found.edits else {}
        parts = ", ".join(f"{group} {value:.2f}" for group, value in means.items())
        at = str(found.step) if found.step == run.last_step else f"{found.step} of {run.last_step}"
        rows.append((name, at, str(len(found.edits)), *(str(counts[verdict]) for verdict in Verdict), parts))
    if rows and missing:
        notes.append(f"not looked for in {', '.join(missing)}: python -m edit_lit explain RUN")
    return rows, notes
