"""The ``report`` verb: figures and tables from the folders of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from edit_lit.measures.fates import Fates
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import Rule
from edit_lit.reports.causes_comparison import compared_causes
from edit_lit.reports.escaping import markdown_text
from edit_lit.reports.fact_texts import answers_now
from edit_lit.reports.facts_table import FACTS_HEADER, facts_table
from edit_lit.reports.fates_figure import fact_map, fates_figure
from edit_lit.reports.fates_table import STEPS_HEADER, SURVIVAL_HEADER, steps_table, survival_table
from edit_lit.reports.figure import comparison_figure, decay_figure
from edit_lit.reports.figure_files import write_figure
from edit_lit.reports.lost_facts import LOST_HEADER, lost_facts
from edit_lit.reports.notes import run_notes
from edit_lit.reports.run import Run
from edit_lit.reports.run_tables import MOST_SHOWN, run_tables, same_facts, scores_compared
from edit_lit.reports.table import Row, markdown_table, run_header, run_table
from edit_lit.reports.table_files import replace_tables, write_csv_and_latex
from edit_lit.utilities.files import write_atomically

FATES, FACTS = "fates", "facts"
"""Names of the figures and pages of what became of the facts."""


def report_run(run: Run, rule: Rule = Rule.EXACT) -> Path:
    """Write a run's figures and tables into ``report/`` in its folder.

    These are ``curve.png`` and ``table.md``, the lost facts, and of all facts ``fates`` and ``facts``, each as page and
    as figure (PNG and SVG). Each table is there as LaTeX too, and its numbers as CSV.

    Args:
        run: The run.
        rule: The success rule of figures and tables.

    Returns:
        The report's folder.
    """
    folder = run.folder / "report"
    figure = decay_figure(run, rule)
    write_atomically(folder / "curve.png", lambda path: figure.savefig(path, dpi=150))
    _write(
        folder / "table.md", f"# {markdown_text(run.name)}\n\n{run_markdown(run, '![decay curve](curve.png)', rule)}"
    )
    if run.main_pool is Pool.EDITED:
        _write(folder / "lost_facts.md", lost_facts_markdown(run, rule))
    fates = run.fates(run.main_pool, rule)
    if fates is not None:
        for name, drawn in fate_figures(run, fates, rule).items():
            write_figure(folder, name, drawn)
        _write(folder / f"{FATES}.md", fates_markdown(run, fates, rule))
        _write(folder / f"{FACTS}.md", facts_markdown(run, rule))
    for table in run_tables(run, rule):
        write_csv_and_latex(folder, table)
    return folder


def fate_figures(run: Run, fates: Fates, rule: Rule) -> dict[str, Figure]:
    """The figures of what became of a run's facts by name, those for which there are facts and probes enough."""
    if not len(fates) or len(fates.steps) < 2:
        return {}
    return {FATES: fates_figure(run, fates, rule), FACTS: fact_map(run, fates, rule)}


def fates_markdown(run: Run, fates: Fates, rule: Rule) -> str:
    """What became of a run's facts by step, and their survival, as Markdown."""
    drawn = "".join(f"![{name}]({name}.png)\n" for name in (FATES, FACTS) if len(fates) and len(fates.steps) > 1)
    parts = [
        f"# What became of the facts of {markdown_text(run.name)}\n",
        notes_markdown([f"by the rule {rule}, on the edited prompts alone", *run_notes(run)]),
        drawn,
        markdown_table(SURVIVAL_HEADER, survival_table(fates)),
        markdown_table(STEPS_HEADER, steps_table(fates)) if len(fates) else "",
    ]
    return "\n".join(filter(None, parts))


def facts_markdown(run: Run, rule: Rule = Rule.EXACT, most: int = MOST_SHOWN) -> str:
    """Every fact of a run, as Markdown.

    Args:
        run: The run.
        rule: The success rule.
        most: How many facts to show.
    """
    rows = facts_table(run, rule)
    notes = [f"fates by the rule {rule}; margins in nats per token, right after the edit and at step {run.last_step}"]
    if answers_now(run, run.main_pool) is None:
        notes.append("what the model answers in words was not recorded at this step (retention.answers)")
    if len(rows) > most:
        notes.append(f"the first {most} of {len(rows)} facts")
    title = f"# Every fact of {markdown_text(run.name)}\n"
    return "\n".join((title, notes_markdown(notes), markdown_table(FACTS_HEADER, rows[:most])))


def run_markdown(run: Run, figure: str = "", rule: Rule = Rule.EXACT) -> str:
    """Notes and table of a run, as Markdown.

    Args:
        run: The run.
        figure: Markdown between the two.
        rule: The success rule that the table has beside ``prob`` and ``exact``.
    """
    parts = [notes_markdown(run_notes(run)), figure, markdown_table(run_header(run), run_table(run, rule))]
    return "\n".join(part if part.endswith("\n") else f"{part}\n" for part in parts if part)


def lost_facts_markdown(run: Run, rule: Rule = Rule.EXACT, most: int = MOST_SHOWN) -> str:
    """The lost facts of a run, as Markdown.

    Args:
        run: The run.
        rule: The success rule.
        most: How many facts to show.
    """
    rows = lost_facts(run, rule)
    if not rows:
        return f"No fact that the edit made right is lost at step {run.last_step} ({rule}).\n"
    shown = f", of which the first {most} are shown" if len(rows) > most else ""
    return (
        f"{len(rows)} facts that the edit made right are lost at step {run.last_step} ({rule}){shown}.\n\n"
        + markdown_table(LOST_HEADER, rows[:most])
    )


def report_comparison(
    runs: Sequence[Run], folder: Path, rule: Rule = Rule.EXACT, left_out: Sequence[str] = ()
) -> tuple[list[Row], list[str]]:
    """Write ``comparison.png`` and ``comparison.md`` into a folder, and each table as CSV and LaTeX.

    Args:
        runs: The runs.
        folder: Where the files go.
        rule: The success rule of figure and tables.
        left_out: Why other runs are not among them, a line each.

    Returns:
        The table's rows, in the columns of ``COMPARISON_HEADER``, and the notes that belong to it.
    """
    figure = comparison_figure(runs, rule)
    write_atomically(folder / "comparison.png", lambda path: figure.savefig(path, dpi=150))
    scores = scores_compared(runs, rule, left_out)
    others = (same_facts(runs, rule), compared_causes(runs))
    parts = [markdown_table(scores.header, scores.rows), notes_markdown(scores.notes)]
    for table in others:
        if table.rows or table.notes:
            shown = markdown_table(table.header, table.rows) if table.rows else ""
            parts += [f"## {table.title}\n", shown, notes_markdown(table.notes)]
    _write(folder / "comparison.md", "\n".join(filter(None, parts)))
    names = [table.name for table in others]
    replace_tables(folder, names, [scores, *(table for table in others if table.rows)])
    return list(scores.rows), list(scores.notes)


def notes_markdown(notes: Sequence[str]) -> str:
    """Notes as a list in Markdown; nothing without any."""
    return "".join(f"- {markdown_text(note)}\n" for note in notes)


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
