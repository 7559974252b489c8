"""What a run's page says of its facts: what became of each, and why edits were lost."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

from markupsafe import Markup

from edit_lit.attribution.file import read_attribution
from edit_lit.attribution.result import Attribution
from edit_lit.attribution.verdict import Verdict
from edit_lit.measures.fates import FATES, Fates
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import Rule
from edit_lit.pages.html import Cell, bullets, image, paragraph, section, strip, table
from edit_lit.reports.causes import causes_notes, causes_tables
from edit_lit.reports.causes_figure import causes_figure
from edit_lit.reports.facts_table import FACTS_HEADER, facts_table
from edit_lit.reports.fates_figure import fact_map, fates_figure
from edit_lit.reports.fates_table import STEPS_HEADER, SURVIVAL_HEADER, steps_table, survival_table
from edit_lit.reports.figure_files import vector
from edit_lit.reports.run import Run
from edit_lit.utilities.errors import ConfigError

MOST_FACTS = 5000
_STEPS = "at each probe"


def fates_sections(run: Run, rule: Rule) -> Markup:
    """How many facts have which fate over the steps, each fact's own way, and a table of all facts."""
    found = run.fates(run.main_pool, rule)
    if found is None:
        return Markup("")
    fates = found.up_to(run.last_step)
    drawn = len(fates) > 0 and len(fates.steps) > 1
    says = "Facts by what the model answers; deaths and returns; survival by the kind of the first loss."
    over_steps = section(
        "What became of the facts",
        image(vector(fates_figure(run, fates, rule)), says) if drawn else Markup(""),
        table(SURVIVAL_HEADER, survival_table(fates)),
        table(STEPS_HEADER, steps_table(fates), sortable=True) if len(fates) else Markup(""),
    )
    each = section(
        "Every fact",
        image(vector(fact_map(run, fates, rule)), "One row a fact, the first lost on top.") if drawn else Markup(""),
        _facts(run, fates, rule),
    )
    return over_steps + each


def _facts(run: Run, fates: Fates, rule: Rule) -> Markup:
    """All facts with a strip of squares, one for each probe; those that do not count have none."""
    rows = facts_table(run, rule)
    order = fates.order_of_death().tolist()
    strips: list[Cell | str] = [_strip(fates, place) for place in order]
    strips += [""] * (len(rows) - len(strips))
    shown = [(*row, drawn) for row, drawn in zip(rows, strips, strict=True)][:MOST_FACTS]
    of = f" The first {MOST_FACTS} of {len(rows)} facts." if len(rows) > MOST_FACTS else ""
    caption = f"Fates by the rule {rule}; margins in nats per token, at the baseline and at step {run.last_step}.{of}"
    return table((*FACTS_HEADER, _STEPS), shown, caption, sortable=True)


def _strip(fates: Fates, place: int) -> Cell:
    states = [str(FATES[fate]) for fate in fates.fate_TF[:, place]]
    said = ", ".join(f"step {step}: {state}" for step, state in zip(fates.steps.tolist(), states, strict=True))
    return Cell(strip(states, said), float(fates.alive_TF[:, place].sum()))


def causes_section(run: Run) -> Markup:
    """Why edits were lost, if that was looked for."""
    try:
        found = read_attribution(run.folder)
    except ConfigError as error:
        return section("Why edits were lost", paragraph(str(error), "note"))
    if found is None:
        return Markup("")
    return section(
        "Why edits were lost",
        bullets(causes_notes(found)),
        image(vector(causes_figure(found)), "What each group of parameters cost each lost edit.")
        if found.edits
        else Markup(""),
        *(table(one.header, one.rows, one.title, sortable=True) for one in causes_tables(found)),
    )


def cause_sentence(run: Run, lost: int) -> str:
    """The causes in a sentence, or how they can be had; nothing where no edit was lost.

    Args:
        run: The run.
        lost: How many edits are lost.
    """
    if not lost or run.main_pool is not Pool.EDITED:
        return ""
    try:
        found = read_attribution(run.folder)
    except ConfigError:
        return ""
    if found is None or (found.step, len(found.edits) + found.left_out) != (run.last_step, lost):
        return f"Why they were lost can be found out: python -m edit_lit explain {shlex.quote(str(run.folder))}"
    return f"The {len(found.edits)} lost edits by their cause: {_counts(found)}."


def _counts(found: Attribution) -> str:
    counts = Counter(edit.verdict for edit in found.edits)
    names: Sequence[Verdict] = [verdict for verdict in Verdict if counts[verdict]]
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in names)
