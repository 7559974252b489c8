"""Every table of a run's report and of a comparison, with the numbers behind the cells."""

from __future__ import annotations

from collections.abc import Sequence

from edit_lit.measures.fates import Fates
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import Rule
from edit_lit.reports.facts_table import FACTS_COLUMNS, FACTS_HEADER, facts_of
from edit_lit.reports.fates_table import (
    STEPS_HEADER,
    SURVIVAL_COLUMNS,
    SURVIVAL_HEADER,
    steps_records,
    steps_table,
    survival_records,
    survival_table,
)
from edit_lit.reports.lost_facts import LOST_HEADER, lost_facts
from edit_lit.reports.notes import comparison_notes
from edit_lit.reports.paired_table import PAIRED_COLUMNS, PAIRED_HEADER, pairs_of
from edit_lit.reports.run import Run, short_names
from edit_lit.reports.score_records import COLUMNS, comparison_records, run_records
from edit_lit.reports.table import COMPARISON_HEADER, comparison_table, run_header, run_table
from edit_lit.reports.table_files import Table

MOST_SHOWN = 1000
"""How many facts a table shows; its records have all of them."""


def run_tables(run: Run, rule: Rule = Rule.EXACT) -> list[Table]:
    """The scores of a run, its lost facts if it edited any, fates by step, survival, and every fact.

    Args:
        run: The run.
        rule: The success rule.
    """
    title = f"Scores of {run.name}"
    tables = [Table("table", title, run_header(run), run_table(run, rule), run_records(run, rule), columns=COLUMNS)]
    if run.main_pool is Pool.EDITED:
        tables.append(_lost(run, rule))
    fates = run.fates(run.main_pool, rule)
    return tables if fates is None else [*tables, *_fates(run, fates, rule), _facts(run, rule)]


def _lost(run: Run, rule: Rule) -> Table:
    rows = lost_facts(run, rule)
    records: list[dict[str, object]] = [dict(zip(LOST_HEADER, row, strict=True)) for row in rows]
    title = f"Lost facts of {run.name} at step {run.last_step} by the rule {rule}"
    return Table("lost_facts", title, LOST_HEADER, rows[:MOST_SHOWN], records, columns=LOST_HEADER)


def _fates(run: Run, fates: Fates, rule: Rule) -> list[Table]:
    of = f"the facts of {run.name} by the rule {rule}"
    survival, steps = survival_table(fates), steps_table(fates) if len(fates) else []
    return [
        Table(
            "fates_survival",
            f"Survival of {of}",
            SURVIVAL_HEADER,
            survival,
            survival_records(fates),
            columns=SURVIVAL_COLUMNS,
        ),
        Table("fates_steps", f"Fates of {of}", STEPS_HEADER, steps, steps_records(fates), columns=STEPS_HEADER),
    ]


def _facts(run: Run, rule: Rule) -> Table:
    facts = facts_of(run, rule)
    rows = [fact.cells() for fact in facts[:MOST_SHOWN]]
    title = f"Every fact of {run.name} by the rule {rule}"
    return Table("facts", title, FACTS_HEADER, rows, [fact.record() for fact in facts], columns=FACTS_COLUMNS)


def scores_compared(runs: Sequence[Run], rule: Rule = Rule.EXACT, left_out: Sequence[str] = ()) -> Table:
    """The scores of several runs side by side.

    Args:
        runs: The runs.
        rule: The success rule.
        left_out: Why other runs are not among them, a line each.
    """
    rows, records = comparison_table(runs, rule), comparison_records(runs, rule)
    notes = comparison_notes(runs, short_names(runs), left_out, rule)
    return Table("comparison", "Which edits survived?", COMPARISON_HEADER, rows, records, notes, COLUMNS)


def same_facts(runs: Sequence[Run], rule: Rule = Rule.EXACT) -> Table:
    """Each run against the first, fact by fact.

    Args:
        runs: The runs.
        rule: The success rule.
    """
    pairs, notes = pairs_of(runs, rule)
    rows, records = [pair.cells() for pair in pairs], [pair.record() for pair in pairs]
    return Table("same_facts", "The same facts", PAIRED_HEADER, rows, records, notes, PAIRED_COLUMNS)
