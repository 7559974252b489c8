"""Lines of a table that has a column for each time at which a model was asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from edit_lit.measures.mean_interval import mean_interval
from edit_lit.measures.outcomes import Kind, Outcomes
from edit_lit.measures.request_means import request_means
from edit_lit.measures.scores import Rule, applies, success
from edit_lit.reports.table import Row
from edit_lit.surgery.stages import Stage


@dataclass(frozen=True)
class Cell:
    """A number of the table.

    Args:
        value: The number; NaN if it is not known.
        low: Lower end of its 95 % interval over facts, if it has one.
        high: Upper end.
        facts: How many facts it is a share of; none if it is no share.
        not_numbers: Of how many questions the answer is no number.
    """

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    facts: int | None = None
    not_numbers: int = 0


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Args:
        label: What it is.
        cells: A number for each column.
        percent: Whether it is shown as a share.
    """

    label: str
    cells: Sequence[Cell]
    percent: bool = True


def answer_lines(stages: Sequence[Stage], rule: Rule) -> list[Line]:
    """What was answered at each stage, of facts and of the task; lines that nobody asked about are left out.

    Args:
        stages: What the model answered, a column each.
        rule: The success rule.
    """
    shares: list[tuple[str, Callable[[Stage], Outcomes], Kind, bool]] = [
        ("efficacy, the new object", lambda stage: stage.edited, Kind.REWRITE, False),
        ("generalization, the new object", lambda stage: stage.edited, Kind.PARAPHRASE, False),
        ("the true object", lambda stage: stage.edited, Kind.REWRITE, True),
        ("the true object, paraphrases", lambda stage: stage.edited, Kind.PARAPHRASE, True),
        ("specificity", lambda stage: stage.edited, Kind.NEIGHBORHOOD, False),
        ("intrinsic facts", lambda stage: stage.intrinsic, Kind.REWRITE, False),
    ]
    found = [
        Line(f"{label} ({rule})", [share(of(stage).of_kind(kind), rule, alternative) for stage in stages])
        for label, of, kind, alternative in shares
    ]
    found = [line for line in found if any(cell.facts for cell in line.cells)]
    for name in stages[0].downstream:
        cells = [Cell(stage.downstream.get(name, math.nan)) for stage in stages]
        found.append(Line(f"downstream {name.replace('_', ' ')}", cells, percent=name == "accuracy"))
    return found


def share(outcomes: Outcomes, rule: Rule, alternative: bool = False) -> Cell:
    """The share of facts whose questions of one kind are answered, the mean over each fact's questions first.

    Args:
        outcomes: The questions of one kind.
        rule: The success rule; what it cannot judge is left out.
        alternative: Judge the alternative, which is the true object of an edited fact, as if it were the answer;
            questions without one are left out.
    """
    asked = outcomes[applies(outcomes, rule) & (outcomes.has_alternative() if alternative else True)]
    broken = int(asked.not_a_number().sum())
    _, means = request_means(success(asked, rule, alternative), asked.request)
    if broken:
        return Cell(facts=len(means), not_numbers=broken)
    return Cell(*mean_interval(means.tolist()), facts=len(means))


def rows(found: Sequence[Line]) -> list[Row]:
    """The lines as texts, a column for each stage behind the label."""
    return [(line.label, *(_text(cell, line.percent) for cell in line.cells)) for line in found]


def records(found: Sequence[Line], stages: Sequence[str]) -> list[dict[str, object]]:
    """Every number by itself, with null where it is not known.

    Args:
        found: The lines.
        stages: What their columns are called.
    """
    return [
        {
            "quantity": line.label,
            "stage": stage,
            **{
                name: None if isinstance(value, float) and not math.isfinite(value) else value
                for name, value in asdict(cell).items()
            },
        }
        for line in found
        for stage, cell in zip(stages, line.cells, strict=True)
    ]


def _text(cell: Cell, percent: bool) -> str:
    if cell.not_numbers:
        return f"{cell.not_numbers} answers are not numbers"
    if math.isnan(cell.value):
        return ""
    if not percent:
        return f"{cell.value:.3f}"
    if math.isnan(cell.low):
        return f"{cell.value:.1%}"
    of = f" of {cell.facts}" if cell.facts else ""
    return f"{cell.value:.1%} [{cell.low:.1%}, {cell.high:.1%}]{of}"
