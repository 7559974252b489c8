"""Runs over the same facts, fact by fact: which of them each run kept alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edit_lit.measures.fates import Fates
from edit_lit.measures.outcome_files import distinct
from edit_lit.measures.paired_fates import PairedFates
from edit_lit.measures.permutation import holm, p_text
from edit_lit.measures.scores import Rule
from edit_lit.reports.fact_texts import fact_names
from edit_lit.reports.run import Run, short_names
from edit_lit.reports.table import Row

PAIRED_HEADER: Row = (
    "run",
    "against",
    "at step",
    "facts in both",
    "kept by both",
    "by this alone",
    "by the other alone",
    "by neither",
    "difference [95 %]",
    "p",
    "p (Holm)",
)


PAIRED_COLUMNS = (
    *("run", "against", "step", "facts", "both", "this_alone", "other_alone", "neither"),
    *("difference", "low", "high", "p", "p_holm"),
)
"""The columns of records; the difference is one of shares."""


@dataclass(frozen=True)
class Pair:
    """A run against another, on the facts that count in both.

    Args:
        run: The run's name.
        against: The other one's.
        step: The last step at which both were probed.
        kept: How many facts each of them kept there, the run first.
        adjusted: The p-value adjusted for the number of pairs.
    """

    run: str
    against: str
    step: int
    kept: PairedFates
    adjusted: float = math.nan

    def cells(self) -> Row:
        """A row in the columns of ``PAIRED_HEADER``."""
        low, high = self.kept.interval()
        text = f"{100 * self.kept.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] points"
        counts = map(str, (self.step, *self._counts()))
        return (self.run, self.against, *counts, text, p_text(self.kept.p), p_text(self.adjusted))

    def record(self) -> dict[str, object]:
        """The pair's numbers, unrounded, in ``PAIRED_COLUMNS``."""
        numbers = (self.kept.difference, *self.kept.interval(), self.kept.p, self.adjusted)
        values = (self.run, self.against, self.step, *self._counts(), *numbers)
        return dict(zip(PAIRED_COLUMNS, values, strict=True))

    def _counts(self) -> tuple[int, ...]:
        return (self.kept.facts, self.kept.both, self.kept.first, self.kept.second, self.kept.neither)


@dataclass(frozen=True)
class _Facts:
    """The facts of a run that count, by name."""

    run: Run
    name: str
    fates: Fates | None
    facts: tuple[str, ...]

    @classmethod
    def of(cls, run: Run, name: str, rule: Rule) -> _Facts:
        fates, names = run.fates(run.main_pool, rule), fact_names(run, run.main_pool)
        if fates is None or names is None:
            return cls(run, name, None, ())
        every = distinct(names.fact)
        return cls(run, name, fates.up_to(run.last_step), tuple(every[fact] for fact in fates.request_F))

    def alive_at(self, step: int) -> dict[str, bool]:
        assert self.fates is not None
        alive = self.fates.up_to(step).alive_TF[-1].tolist()
        return dict(zip(self.facts, alive, strict=True))


def paired_table(runs: Sequence[Run], rule: Rule = Rule.EXACT) -> tuple[list[Row], list[str]]:
    """Each run against the first as rows in the columns of ``PAIRED_HEADER``, and notes; see :func:`pairs_of`."""
    pairs, notes = pairs_of(runs, rule)
    return [pair.cells() for pair in pairs], notes


def pairs_of(runs: Sequence[Run], rule: Rule = Rule.EXACT) -> tuple[list[Pair], list[str]]:
    """Each run against the first, on the facts that count in both, at the last step at which both were probed.

    Args:
        runs: The runs.
        rule: The success rule.

    Returns:
        The pairs, and what a reader must know of them.
    """
    reference, *others = [_Facts.of(run, name, rule) for run, name in zip(runs, short_names(runs), strict=True)]
    pairs, notes = [], []
    for other in others:
        flaw = _flaw(reference, other)
        if flaw:
            notes.append(f"{other.name} is not paired with {reference.name}: {flaw}")
            continue
        pair, note = _pair(reference, other)
        pairs.append(pair)
        notes += [note] if note else []
    adjusted = holm([pair.kept.p for pair in pairs])
    pairs = [replace(pair, adjusted=value) for pair, value in zip(pairs, adjusted, strict=True)]
    return pairs, [*(_NOTES if pairs else ()), *notes]


_NOTES = (
    "facts that count in both runs, by their content; p is of McNemar's exact test and the interval of a bootstrap, "
    "both over facts: they say nothing of other seeds, for which a sweep is needed",
)


def _flaw(first: _Facts, second: _Facts) -> str:
    """Why two runs cannot be paired; nothing if they can."""
    if first.run.main_pool is not second.run.main_pool:
        return "one of them edits and the other does not, so that they are asked for different answers"
    if first.fates is None or second.fates is None:
        return "an earlier version wrote one of them, without the facts' names by content"
    if not set(first.facts) & set(second.facts):
        return "they have no fact in common that counts in both"
    return ""


def _pair(reference: _Facts, other: _Facts) -> tuple[Pair, str]:
    assert reference.fates is not None
    assert other.fates is not None
    step = int(max(set(reference.fates.steps.tolist()) & set(other.fates.steps.tolist())))
    first, second = other.alive_at(step), reference.alive_at(step)
    shared = [fact for fact in first if fact in second]
    kept = PairedFates.of([first[fact] for fact in shared], [second[fact] for fact in shared])
    ends = {one.name: one.run.last_step for one in (other, reference) if one.run.last_step != step}
    late = "; ".join(f"{name} ends at step {end}" for name, end in ends.items())
    note = f"{other.name} and {reference.name} are compared at step {step}: {late}" if late else ""
    return Pair(other.name, reference.name, step, kept), note
