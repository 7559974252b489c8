"""What was found, as tables and as files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from edit_lit.detection.conformal import needed
from edit_lit.detection.detection import Finding
from edit_lit.detection.flags import Judged, PromptsFinding
from edit_lit.detection.record import record
from edit_lit.detection.weights import Verdict, WeightsFinding, tenth
from edit_lit.reports.table import Row, markdown_table
from edit_lit.reports.table_files import Table
from edit_lit.utilities.files import write_atomically
from edit_lit.utilities.json_files import write_json

JSON, MARKDOWN = "detection.json", "detection.md"
MOST_NAMED = 20

_WEIGHTS: Row = ("layer", "largest singular value / median", "share of a tenth", "effective rank", "row kurtosis")
_DIFFERENCE: Row = ("layer", "norm of the difference", "share of a tenth", "effective rank")
_GROUPS: Row = ("facts", "number", "look edited [95 %]", "median entropy", "median disagreement")
_FLAGGED: Row = ("question", "the model says", "entropy", "disagreement", "p")


def tables(finding: Finding, most: int | None = None) -> list[Table]:
    """What was found, a table for each part.

    Args:
        finding: What was found.
        most: How many of the facts that look edited are named; all of them if not given.
    """
    made = [_weights_table(finding.weights)]
    if finding.difference is not None:
        made.append(_difference_table(finding.difference))
    if finding.prompts is not None:
        made.append(_groups_table(finding.prompts))
        if finding.prompts.questioned is not None and finding.prompts.questioned.count:
            made.append(_flagged_table(finding.prompts.questioned, most))
    return made


def write_files(folder: Path, finding: Finding, about: Mapping[str, object]) -> None:
    """Write ``detection.json``, with every number, and ``detection.md``.

    Args:
        folder: Where they go.
        finding: What was found.
        about: What was looked at, for the JSON file.
    """
    write_json(folder / JSON, {**about, **record(finding)}, indent=2)
    parts = [part for table in tables(finding) for part in (f"## {table.title}", *table.notes, _markdown(table))]
    write_atomically(folder / MARKDOWN, lambda path: path.write_text("\n\n".join(parts) + "\n", encoding="utf-8"))


def weights_lines(found: WeightsFinding) -> list[str]:
    """What the matrices say, and how sure that is."""
    return [f"{found.verdict}: {_reason(found)}", *_changes(found)]


def prompts_lines(found: PromptsFinding) -> list[str]:
    """What the answers say, and how sure that is."""
    low, high = found.usual.bounds(found.threshold)
    lines = [
        f"A fact looks edited if its entropy and disagreement add up to less than {low:.2g} or more than {high:.2g} "
        f"nats: set by {found.calibrating} unedited facts for a rate of false alarms of {found.alarm_rate:.3g}."
    ]
    if found.questioned is not None:
        lines.append(
            f"{_counted(found.questioned)} questioned facts look edited, and {_counted(found.held_out)} unedited ones "
            f"that set nothing. Were both alike, so many or more would with p = {found.p:.2g} (Fisher's exact test)."
        )
    if found.edited is not None:
        lines.append(
            f"{_counted(found.edited)} facts known to be edited are found; they are more unusual than unedited ones "
            f"with a probability of {found.auc:.3f} (AUC)."
        )
    return lines


def _counted(judged: Judged) -> str:
    low, high = judged.interval
    return f"{judged.count} of {len(judged.flagged)} [{low:.1%}, {high:.1%}]"


def _reason(found: WeightsFinding) -> str:
    if found.verdict is Verdict.UNCHANGED:
        return "no MLP output projection differs by more than rounding"
    if math.isnan(found.factors[found.most]):
        return "it has one layer, and no other model was named to hold it against"
    most = f"layer {found.most} stands out most, {_factor(found.factors[found.most])} times"
    if found.calibration is None:
        return (
            f"{most} the median of the other layers. How much that is without an edit is not known; name models that "
            "nobody edited with --unedited"
        )
    beside, count = found.calibration, len(found.calibration.names)
    low, high = beside.interval
    told = f"{most} the median of {count} unedited models; p = {beside.p:.3g}"
    if found.verdict is Verdict.TOO_FEW:
        return (
            f"{told}, the smallest that {count} of them can give. A rate of false alarms of {found.alarm_rate:.3g} "
            f"takes {needed(found.alarm_rate)}"
        )
    alarms = f"{beside.alarms} of {count} unedited models [{low:.0%}, {high:.0%}] stand out as much from the rest"
    rate = f"the wanted rate of false alarms is {found.alarm_rate:.3g}"
    return f"{told}; {alarms}; {rate}"


def _changes(found: WeightsFinding) -> list[str]:
    """Where a model differs from its release."""
    if found.difference is None:
        return []
    layers, elsewhere = len(found.spectra), len(found.difference.elsewhere)
    others = found.difference.parameters - layers
    named = ", ".join(map(str, found.changed)) or "none"
    line = (
        f"of {layers} MLP output projections these differ from the release: {named}; and {elsewhere} of {others} others"
    )
    if 0 < len(found.changed) < layers and not elsewhere:
        line += ". An editor leaves such a trace; so does a training of these matrices alone"
    return [line]


def _weights_table(found: WeightsFinding) -> Table:
    rows = [
        (
            str(layer),
            f"{each.leading:.3f}",
            f"{each.share(tenth(each)):.1%}",
            f"{each.effective_rank:.1f} of {len(each.values_R)}",
            f"{each.row_kurtosis:.2f}",
            _factor(found.factors[layer]),
        )
        for layer, each in enumerate(found.spectra)
    ]
    header = (*_WEIGHTS, _stands_out(found))
    return Table("weights", "Do the weights look edited?", header, rows, notes=weights_lines(found))


def _difference_table(found: WeightsFinding) -> Table:
    assert found.difference is not None
    rows = [
        (
            str(layer),
            f"{found.difference.relative[layer]:.2%}",
            f"{each.share(tenth(each)):.1%}" if each.norm else "",
            f"{each.effective_rank:.1f} of {len(each.values_R)}",
            _factor(found.factors[layer]) if each.norm else "",
        )
        for layer, each in enumerate(found.spectra)
    ]
    header = (*_DIFFERENCE, _stands_out(found))
    return Table("difference", "Does what differs from the release?", header, rows, notes=weights_lines(found))


def _stands_out(found: WeightsFinding) -> str:
    return f"times the median of {'the other layers' if found.calibration is None else 'unedited models'}"


def _factor(value: float) -> str:
    return f"{value:.2f}" if value < 1000 else "over 1000"


def _groups_table(found: PromptsFinding) -> Table:
    named = {
        "questioned": found.questioned,
        "known to be edited": found.edited,
        "unedited, held out": found.held_out,
    }
    rows = [
        (
            name,
            str(len(judged.flagged)),
            f"{judged.share:.1%} [{judged.interval[0]:.1%}, {judged.interval[1]:.1%}]",
            f"{float(judged.behavior.entropy_F.median()):.3g}",
            f"{float(judged.behavior.disagreement_F.median()):.3g}",
        )
        for name, judged in named.items()
        if judged is not None
    ]
    return Table("prompts", "Do the answers look edited?", _GROUPS, rows, notes=prompts_lines(found))


def _flagged_table(judged: Judged, most: int | None) -> Table:
    order = sorted(range(len(judged.flagged)), key=lambda fact: -float(judged.score_F[fact]))
    named = [fact for fact in order if judged.flagged[fact]]
    rows = [
        (
            judged.requests[fact].question,
            judged.behavior.says[fact],
            f"{float(judged.behavior.entropy_F[fact]):.3g}",
            f"{float(judged.behavior.disagreement_F[fact]):.3g}",
            f"{judged.p[fact]:.3g}",
        )
        for fact in named[:most]
    ]
    left = len(named) - len(rows)
    notes = [f"and {left} more, in {MARKDOWN}"] if left else []
    return Table("flagged", "Questioned facts that look edited, the most unusual first", _FLAGGED, rows, notes=notes)


def _markdown(table: Table) -> str:
    return markdown_table(table.header, table.rows)
