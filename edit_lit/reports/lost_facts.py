"""The edited facts that were lost: what was asked, what the edit had said, and what became of it."""

from __future__ import annotations

from edit_lit.measures.fates import Fate
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.question_files import AskedQuestion
from edit_lit.measures.scores import Rule
from edit_lit.reports.fact_texts import answers_now, fact_texts
from edit_lit.reports.run import Run
from edit_lit.reports.table import Row

LOST_HEADER: Row = ("question", "the edit said", "became", "lost by step")


def lost_facts(run: Run, rule: Rule = Rule.EXACT) -> list[Row]:
    """The facts that the edit made right and that fail at the last probe, in the order in which they were lost.

    Args:
        run: The run.
        rule: The success rule.

    Returns:
        Rows in the columns of ``LOST_HEADER``: whether a fact was reverted to what the model knew or displaced by
        something else, with what the model answers now if it was asked, and the first probe from which on it failed.
    """
    fates = run.fates(Pool.EDITED, rule)
    if fates is None:
        return []
    fates = fates.up_to(run.last_step)
    texts, words = fact_texts(run, Pool.EDITED), answers_now(run, Pool.EDITED)
    rows = []
    for fact, fate, between in zip(fates.request_F.tolist(), fates.last, fates.lost_between(), strict=True):
        if between is not None:
            answer = words[fact] if words is not None else ""
            rows.append((between[1], fact, _row(texts[fact], fate, answer, between[1])))
    return [row for _, _, row in sorted(rows)]


def _row(asked: AskedQuestion, fate: Fate, answer: str, step: int) -> Row:
    became = str(fate)
    if fate is Fate.REVERTED and asked.alternative:
        became = f"reverted to {asked.alternative}"
    elif fate is Fate.DISPLACED and answer:
        became = f"displaced by {answer}"
    return (asked.text or asked.subject, asked.answer, became, str(step))
