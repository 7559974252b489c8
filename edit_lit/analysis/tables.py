"""Tables of a sweep: arms, differences, effects, and what is in no mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edit_lit.analysis.bootstrap import Estimate
from edit_lit.analysis.differences import Difference
from edit_lit.analysis.effects import Effect
from edit_lit.analysis.matching import Match
from edit_lit.analysis.quantities import Quantity
from edit_lit.analysis.study import Study
from edit_lit.measures.permutation import p_text
from edit_lit.reports.table import Row
from edit_lit.reports.table_files import Table


def estimate_text(estimate: Estimate, show: Callable[[float], str]) -> str:
    """A mean with its interval; of fewer than five runs the value of each."""
    if not estimate.has_interval:
        return ", ".join(show(value) for value in estimate.values)
    return f"{show(estimate.mean)} [{show(estimate.low)}, {show(estimate.high)}]"


def estimate_record(estimate: Estimate) -> dict[str, object]:
    """An estimate's numbers by name; the mean too of a single run, but no interval of fewer than five."""
    return {
        "mean": estimate.mean,
        "low": estimate.low,
        "high": estimate.high,
        "runs": estimate.runs,
        "facts": estimate.facts,
        "values": " ".join(f"{value:.6g}" for value in estimate.values),
    }


def arms_table(study: Study, name: str, title: str, quantities: Sequence[Quantity]) -> Table:
    """Quantities by arm, those that any trial has."""
    shown = study.present(quantities)
    rows, records = [], []
    for arm in study.arms:
        estimates = [study.estimate(arm, quantity) for quantity in shown]
        cells = [
            _of_runs(estimate_text(item, quantity.shown), item.runs, len(study.cells[arm]))
            for item, quantity in zip(estimates, shown, strict=True)
        ]
        rows.append((study.arm_title(arm), study.runs_text(arm), *cells))
        for item, quantity in zip(estimates, shown, strict=True):
            records.append({**dict(arm), "quantity": quantity.name, **estimate_record(item)})
    header = ("arm", "runs", *(quantity.heading for quantity in shown))
    notes = (f"by the rule {study.rule}; mean over runs and 95 % interval, of fewer than five runs each run's value",)
    return Table(name, title, header, rows, records, notes)


def _of_runs(text: str, runs: int, finished: int) -> str:
    """A cell that says where some runs lack the number, as retention where no edit took."""
    return f"{text} ({runs} of {finished} runs)" if 0 < runs < finished else text


DIFFERENCES_HEADER: Row = ("arm", "in", "difference", "pairs of runs", "facts", "p", "p (Holm)", "verdict")


def differences_table(study: Study, found: Sequence[Difference], reference: str, matches: Sequence[Match]) -> Table:
    """Paired differences against an arm, and how arms were matched, if they were."""
    rows, records = [], []
    for item in found:
        text = estimate_text(item.estimate, item.quantity.difference)
        facts = str(item.estimate.facts) if item.estimate.facts > item.estimate.runs else ""
        numbers = (str(item.estimate.runs), facts, _p(item.p), _p(item.adjusted))
        rows.append((study.arm_title(item.arm), item.quantity.title, text, *numbers, item.verdict))
        own = {"p": item.p, "p_holm": item.adjusted, "verdict": item.verdict}
        records.append({**dict(item.arm), "quantity": item.quantity.name, **estimate_record(item.estimate), **own})
    tested = sum(item.adjusted is not None for item in found)
    notes = [
        "shares in points; on the same replicates and, within a pair of runs, on the facts that count in both",
        *(_test_notes(tested) if tested else ["nothing was tested: that takes five pairs of runs"]),
        *(_match_note(study, match) for match in matches),
    ]
    return Table("differences", f"Against {reference}", DIFFERENCES_HEADER, rows, records, notes)


def _test_notes(tested: int) -> list[str]:
    return [
        f"{tested} comparisons were tested; p is of a sign-flip test over pairs of runs (with five pairs at least "
        "0.0625), adjusted for their number by Holm",
        "'differs' takes both an interval that leaves out 0 and an adjusted p of at most 0.05; 'interval only' befalls "
        "about 15 in 100 of arms that are the same with five pairs of runs, and 7 with ten or more",
    ]


def _match_note(study: Study, match: Match) -> str:
    passed_over = f" (of {', '.join((match.label, *match.others))})" if match.others else ""
    near = f"; not compared: {match.flaw}" if match.flaw else ""
    return (
        f"{study.sweep.arm_name(match.arm)} was chosen{passed_over}: its downstream loss is {match.loss:.3f}, "
        f"{match.away:+.3f} from the reference's {match.reference_loss:.3f}{near}"
    )


EFFECTS_HEADER: Row = ("axis", "label", "against", "in", "difference", "replicates", "pairs of runs")


def effects_table(found: Sequence[Effect]) -> Table:
    """The main effect of each axis."""
    rows, records = [], []
    for item in found:
        text = estimate_text(item.estimate, item.quantity.difference)
        counts = (str(item.estimate.runs), f"{item.pairs}{'' if item.complete else ' (some missing)'}")
        rows.append((item.axis, item.label, item.first, item.quantity.title, text, *counts))
        own = {"axis": item.axis, "label": item.label, "against": item.first, "quantity": item.quantity.name}
        numbers = {**estimate_record(item.estimate), "pairs": item.pairs, "cells": item.cells}
        numbers.pop("facts")
        records.append({**own, **numbers})
    notes = (
        "the mean over pairs of runs that differ in this axis alone, averaged over all other axes within a replicate; "
        "intervals over replicates",
    )
    return Table("effects", "Effect of each axis", EFFECTS_HEADER, rows, records, notes)


LEFT_OUT_HEADER: Row = ("trial", "labels", "state", "why")


def left_out_table(study: Study) -> Table:
    """The trials that are in no mean."""
    rows = [
        (
            result.trial.address,
            ", ".join(f"{axis}={label}" for axis, label in result.trial.labels.items()),
            result.state,
            result.why,
        )
        for result in study.results
        if not result.finished
    ]
    return Table("left_out", "In no mean", LEFT_OUT_HEADER, rows)


def _p(value: float | None) -> str:
    return "" if value is None else p_text(value)
