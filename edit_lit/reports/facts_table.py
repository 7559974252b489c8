"""Every fact of a run: what was asked, what the model answers now, and what became of it."""

from __future__ import annotations

import math

from edit_lit.measures.scores import Rule
from edit_lit.reports.fact_texts import answers_now, fact_texts
from edit_lit.reports.run import Run
from edit_lit.reports.table import Row

FACTS_HEADER: Row = (
    "subject",
    "question",
    "right answer",
    "the other object",
    "answers now",
    "fate",
    "lost between steps",
    "came back",
    "margin then",
    "margin now",
)


def facts_table(run: Run, rule: Rule = Rule.EXACT) -> list[Row]:
    """All facts under study, in the columns of ``FACTS_HEADER``: the lost, the living, and those that do not count.

    The right answer is the new object, in a control what the model knew. Margins are log P(right answer) − log P(the
    other object) per token, in nats, at the baseline and at the last probe.

    Args:
        run: The run.
        rule: The success rule.
    """
    pool = run.main_pool
    fates = run.fates(pool, rule)
    if fates is None:
        return []
    fates = fates.up_to(run.last_step)
    texts, words = fact_texts(run, pool), answers_now(run, pool)

    def row(fact: int, *fate: str) -> Row:
        asked = texts[fact]
        now = words[fact] if words is not None else ""
        return (asked.subject, asked.text, asked.answer, asked.alternative or "", now, *fate)

    last, between, returns = fates.last, fates.lost_between(), fates.returns_of_facts()
    rows = []
    for place in fates.order_of_death().tolist():
        lost = between[place]
        interval = "" if lost is None else f"{lost[0]} and {lost[1]}"
        back = f"{returns[place]}×" if returns[place] else ""
        margins = (_nats(fates.margin_TF[end, place]) for end in (0, -1))
        rows.append(row(int(fates.request_F[place]), str(last[place]), interval, back, *margins))
    without = {
        "never taken": fates.never_taken,
        "right before the edit": fates.already_right or (),
        f"not judged by {rule}": fates.not_judged,
    }
    rows += [row(fact, why, "", "", "", "") for why, facts in without.items() for fact in facts]
    return rows


def _nats(value: float) -> str:
    return "" if math.isnan(value) else f"{value:+.2f}"
