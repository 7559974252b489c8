"""Runs over the same facts, fact by fact: which of them each run kept alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edit_lit.measures.fates import Fates
from edit_lit.measures.outcome_files import distinct
from edit_lit.measures.paired_fates import PairedFates
from edit_lit.measures.permutation import holm
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
    """Each run against the first, on the facts that count in both, at the last step at which both were probed.

    Args:
        runs: The runs.
        rule: The success rule.

    Returns:
        Rows in the columns of ``PAIRED_HEADER``, and what a reader must know of them.
    """
    reference, *others = [_Facts.of(run, name, rule) for run, name in zip(runs, short_names(runs), strict=True)]
    rows: list[tuple[Row, PairedFates]] = []
    notes = []
    for other in others:
        flaw = _flaw(reference, other)
        if flaw:
            notes.append(f"{other.name} is not paired with {reference.name}: {flaw}")
            continue
        cells, pair, note = _pair(reference, other)
        rows.append((cells, pair))
        notes += [note] if note else []
    adjusted = holm([pair.p for _, pair in rows])
    table = [(*cells, f"{pair.p:.4f}", f"{value:.4f}") for (cells, pair), value in zip(rows, adjusted, strict=True)]
    return table, [*(_NOTES if table else ()), *notes]


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


def _pair(reference: _Facts, other: _Facts) -> tuple[Row, PairedFates, str]:
    assert reference.fates is not None
    assert other.fates is not None
    step = int(max(set(reference.fates.steps.tolist()) & set(other.fates.steps.tolist())))
    first, second = other.alive_at(step), reference.alive_at(step)
    shared = [fact for fact in first if fact in second]
    pair = PairedFates.of([first[fact] for fact in shared], [second[fact] for fact in shared])
    low, high = pair.interval()
    text = f"{100 * pair.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] points"
    counts = (pair.facts, pair.both, pair.first, pair.second, pair.neither)
    cells = (other.name, reference.name, str(step), *map(str, counts), text)
    ends = {one.name: one.run.last_step for one in (other, reference) if one.run.last_step != step}
    late = "; ".join(f"{name} ends at step {end}" for name, end in ends.items())
    return cells, pair, f"{other.name} and {reference.name} are compared at step {step}: {late}" if late else ""
