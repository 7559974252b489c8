"""Every fact of a run: what was asked, what the model answers now, and what became of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edit_lit.measures.question_files import AskedQuestion
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


FACTS_COLUMNS = (*FACTS_HEADER[:6], "alive until step", "lost by step", *FACTS_HEADER[7:])
"""The columns of records, which have the two steps between which a fact was lost apart."""


@dataclass(frozen=True)
class FactFate:
    """A fact and what became of it.

    Args:
        asked: What was asked.
        now: What the model answers now, if it was asked in words.
        fate: Its fate at the last probe, or why it has none.
        lost: The last step at which it was alive and the next probe's, if it is lost.
        returns: How often it came back; none without a fate.
        margin_then: Margin at the baseline, in nats per token; NaN if it is not known.
        margin_now: Margin at the last probe.
    """

    asked: AskedQuestion
    now: str
    fate: str
    lost: tuple[int, int] | None = None
    returns: int | None = None
    margin_then: float = math.nan
    margin_now: float = math.nan

    def cells(self) -> Row:
        """A row in the columns of ``FACTS_HEADER``."""
        lost = "" if self.lost is None else f"{self.lost[0]} and {self.lost[1]}"
        back = f"{self.returns}×" if self.returns else ""
        return (*self._words(), lost, back, _nats(self.margin_then), _nats(self.margin_now))

    def record(self) -> dict[str, object]:
        """The fact with its numbers unrounded, in ``FACTS_COLUMNS``."""
        numbers = (*(self.lost or (None, None)), self.returns, self.margin_then, self.margin_now)
        return dict(zip(FACTS_COLUMNS, (*self._words(), *numbers), strict=True))

    def _words(self) -> Row:
        asked = self.asked
        return (asked.subject, asked.text, asked.answer, asked.alternative or "", self.now, self.fate)


def facts_table(run: Run, rule: Rule = Rule.EXACT) -> list[Row]:
    """All facts under study, in the columns of ``FACTS_HEADER``: the lost, the living, and those that do not count.

    The right answer is the new object, in a control what the model knew. Margins are log P(right answer) − log P(the
    other object) per token, in nats, at the baseline and at the last probe.

    Args:
        run: The run.
        rule: The success rule.
    """
    return [fact.cells() for fact in facts_of(run, rule)]


def facts_of(run: Run, rule: Rule = Rule.EXACT) -> list[FactFate]:
    """All facts under study, in the order of their table.

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
    now = words if words is not None else [""] * len(texts)
    last, lost, returns, margin_TF = fates.last, fates.lost_between(), fates.returns_of_facts(), fates.margin_TF
    facts = []
    for place in fates.order_of_death().tolist():
        fact = int(fates.request_F[place])
        margins = (float(margin_TF[0, place]), float(margin_TF[-1, place]))
        facts.append(FactFate(texts[fact], now[fact], str(last[place]), lost[place], int(returns[place]), *margins))
    without = {
        "never taken": fates.never_taken,
        "right before the edit": fates.already_right or (),
        f"not judged by {rule}": fates.not_judged,
    }
    return [*facts, *(FactFate(texts[fact], now[fact], why) for why, of in without.items() for fact in of)]


def _nats(value: float) -> str:
    return "" if math.isnan(value) else f"{value:+.2f}"
