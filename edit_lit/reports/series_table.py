"""The table of series: means over cycles with intervals over cycles, and what is in no mean."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median

from edit_lit.measures.mean_interval import FEWEST, mean_interval
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import SCORE_NAMES, Rule, edit_scores
from edit_lit.reports.escaping import markdown_text
from edit_lit.reports.notes import stop_text
from edit_lit.reports.report import notes_markdown
from edit_lit.reports.series import CycleResult, Series
from edit_lit.reports.table import Row, markdown_table
from edit_lit.utilities.files import write_atomically

_RULES = (Rule.EXACT, Rule.FIRST, Rule.PROB)


def series_header(series: Sequence[Series]) -> Row:
    """The columns: one for each series."""
    names = [one.name for one in series]
    names = names if len(set(names)) == len(names) else [str(one.folder) for one in series]
    return ("", *(f"{name} (control)" if one.is_control else name for one, name in zip(series, names, strict=True)))


def series_table(series: Sequence[Series]) -> list[Row]:
    """Rows of one or several series, in the columns of ``series_header``; those that none has are left out."""
    named: list[tuple[str, Callable[[Series], str]]] = [
        ("cycles in the means", lambda one: f"{len(one.counted)} of {len(one.results)}"),
        ("facts edited in a cycle", lambda one: str(len(one.results[0].cycle.facts))),
        ("steps, median [least, most]", _steps),
        ("came to the score to stop at", _stops),
        ("downstream loss, last measured", lambda one: _mean(_last_losses(one), "{:.3f}".format)),
    ]
    named += [(f"{name} (exact)", _scores(name)) for name in (*SCORE_NAMES.values(),)]
    for rule in _RULES:
        named += [
            (f"retention, facts under study ({rule})", _retention(None, rule)),
            (f"retention, intrinsic ({rule})", _retention(Pool.INTRINSIC, rule)),
            (f"difference, within cycles ({rule})", _difference(rule)),
        ]
    rows = [(label, *map(cell, series)) for label, cell in named]
    return [row for row in rows if any(row[1:])]


def series_notes(series: Series) -> list[str]:
    """Lines to stand with the table: what is in no mean, and why, each cycle by its name."""
    results = series.results
    groups = {
        "not run to their end": [one for one in results if not one.ended],
        "diverged": [one for one in results if one.diverged],
        "not fine-tuned, for they stopped at step 0": [
            one for one in results if one.ended and not one.diverged and not one.steps
        ],
    }
    lines = [f"in no mean: {what}: {_listed(cycles)}" for what, cycles in groups.items() if cycles]
    if series.is_control:
        lines.append("a control: nothing was edited")
    idle = [one for one in series.counted if math.isnan(one.retention(series.main_pool, Rule.EXACT))]
    if idle:
        why = "were not known at the baseline" if series.is_control else "the edit did not make right (exact)"
        lines.append(f"in no retention: facts that {why}: {_listed(idle)}")
    short = [one for one in series.counted if one.came_to_its_score is False]
    if short:
        lines.append(f"never came to the score to stop at, and are in the means as they ended: {_listed(short)}")
    below = [one for one in series.counted if _below_at_start(one)]
    if below:
        lines.append(
            f"{len(below)} of {len(series.counted)} cycles were at the score to stop at before their first step, and "
            "trained up to the first evaluation only"
        )
    if len(series.counted) < FEWEST:
        lines.append(f"fewer than {FEWEST} cycles: means without intervals")
    lines.append(
        "the unit is the cycle: intervals are over cycles; the intrinsic facts are the same in all of them and add none"
    )
    return lines


def report_series(series: Sequence[Series], folder: Path) -> tuple[list[Row], list[str]]:
    """Write ``cycles.md``, and into each series' ``report/`` its ``cycles.csv`` with one row a cycle.

    Args:
        series: The series.
        folder: Where the table goes.

    Returns:
        The table's rows, in the columns of ``series_header``, and the notes that belong to it.
    """
    rows = series_table(series)
    several = len(series) > 1
    notes = [f"{one.name}: {note}" if several else note for one in series for note in series_notes(one)]
    title = ", ".join(one.name for one in series)
    text = f"# {markdown_text(title)}\n\n{notes_markdown(notes)}\n{markdown_table(series_header(series), rows)}"
    write_atomically(folder / "cycles.md", lambda path: path.write_text(text, encoding="utf-8"))
    for one in series:
        table = _csv(one)
        write_atomically(one.folder / "report" / "cycles.csv", lambda path, table=table: path.write_text(table))  # type: ignore[misc]
    return rows, notes


def _csv(series: Series) -> str:
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    pools = {"study": series.main_pool, "intrinsic": Pool.INTRINSIC}
    columns = [f"{pool}_{rule}_{what}" for pool in pools for rule in _RULES for what in ("kept", "of")]
    table.writerow(["cycle", "ids", "facts", "seed", "state", "in_means", "steps", "at_score", "val_loss", *columns])
    for result in series.results:
        cells: list[object] = []
        for pool in pools.values():
            for rule in _RULES:
                counts = result.transitions(pool, rule) if result.counts else None
                cells += ["", ""] if counts is None else [counts.stable, counts.baseline_successes]
        state = result.run.segment.state if result.run is not None and result.run.segment is not None else "not begun"
        own = result.cycle
        head = [own.number, "; ".join(own.ids), "; ".join(own.facts), own.seed, state, result.counts, result.steps]
        table.writerow([*head, result.came_to_its_score, _last_loss(result), *cells])
    return file.getvalue()


def _listed(results: Sequence[CycleResult]) -> str:
    return ", ".join(one.cycle.name for one in results)


def _steps(series: Series) -> str:
    steps = [one.steps for one in series.counted]
    return f"{median(steps):g} [{min(steps)}, {max(steps)}]" if steps else ""


def _stops(series: Series) -> str:
    known = [one for one in series.counted if one.came_to_its_score is not None]
    texts = Counter(stop_text(stop) for one in known for stop in _stops_of(one))
    if not known:
        return ""
    return f"{sum(bool(one.came_to_its_score) for one in known)} of {len(known)} ({', '.join(texts)})"


def _stops_of(result: CycleResult) -> Iterable[dict[str, object]]:
    segment = result.run.segment if result.run is not None else None
    return [dict(stop) for stop in segment.stops] if segment is not None else []


def _below_at_start(result: CycleResult) -> bool:
    for stop in _stops_of(result):
        curve = result.run.downstream.get(str(stop["monitor"]).removeprefix("downstream/")) if result.run else None
        first = curve[0] if curve else None
        if first is not None and first[0] == 0:
            threshold = float(str(stop["threshold"]))
            return first[1] < threshold if stop["mode"] == "min" else first[1] > threshold
    return False


def _last_loss(result: CycleResult) -> float | None:
    curve = result.run.downstream.get("val_loss") if result.run is not None else None
    return curve[-1][1] if curve else None


def _last_losses(series: Series) -> list[float]:
    return [loss for one in series.counted if (loss := _last_loss(one)) is not None]


def _scores(name: str) -> Callable[[Series], str]:
    """A score right after the edit and at the end, each a mean over cycles."""

    def cell(series: Series) -> str:
        ends = []
        for place in (0, -1):
            curves = [list(one.run.curve(Pool.EDITED).values()) for one in series.counted if one.run is not None]
            scores = [edit_scores(curve[place], Rule.EXACT).get(name, math.nan) for curve in curves if curve]
            known = [score for score in scores if not math.isnan(score)]
            ends += [f"{sum(known) / len(known):.1%}"] if known else []
        return " → ".join(ends)

    return cell


def _retention(pool: Pool | None, rule: Rule) -> Callable[[Series], str]:
    return lambda series: _mean(series.retentions(pool or series.main_pool, rule), "{:.1%}".format)


def _difference(rule: Rule) -> Callable[[Series], str]:
    return lambda series: _mean([100 * value for value in series.differences(rule)], "{:+.1f}".format, " points")


def _mean(values: Sequence[float], show: Callable[[float], str], unit: str = "") -> str:
    if not values:
        return ""
    mean, low, high = mean_interval(values)
    interval = "" if math.isnan(low) else f" [{show(low)}, {show(high)}]"
    return f"{show(mean)}{unit}{interval} over {len(values)} cycles"
