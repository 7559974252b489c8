"""The page of several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edit_lit.measures.scores import Rule
from edit_lit.pages.html import bullets, image, page, section, table
from edit_lit.reports.causes_comparison import compared_causes
from edit_lit.reports.figure import comparison_figure
from edit_lit.reports.figure_files import vector
from edit_lit.reports.notes import comparison_notes
from edit_lit.reports.paired_table import PAIRED_HEADER, paired_table
from edit_lit.reports.run import Run, short_names
from edit_lit.reports.table import COMPARISON_HEADER, comparison_table
from edit_lit.utilities.files import write_atomically

PAGE = "comparison.html"


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
    causes = compared_causes(runs)
    content = page(
        "Which edits survived?",
        bullets(comparison_notes(runs, names, left_out, rule)),
        section("The runs", table(COMPARISON_HEADER, comparison_table(runs, rule), sortable=True)),
        section("Over the steps", image(vector(comparison_figure(runs, rule)), f"Retention by the rule {rule}.")),
        section("The same facts", table(PAIRED_HEADER, pairs, sortable=True), bullets(of_pairs)),
        section(causes.title, table(causes.header, causes.rows, sortable=True), bullets(causes.notes)),
    )
    path = folder / PAGE
    write_atomically(path, lambda temporary: temporary.write_text(content, encoding="utf-8"))
    return path
