"""Why edits were lost: an attribution as tables and sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edit_lit.attribution.groups import GROUPS, Group
from edit_lit.attribution.result import Attribution, LostEdit
from edit_lit.attribution.verdict import Verdict
from edit_lit.reports.escaping import markdown_text
from edit_lit.reports.table import Row, markdown_table
from edit_lit.reports.table_files import Table, replace_tables
from edit_lit.utilities.files import write_atomically

CAUSES_HEADER: Row = (
    "question",
    "the edit said",
    "became",
    "nats lost",
    *GROUPS,
    "put back",
    "cause",
    "by activations",
)
MEANS_HEADER: Row = ("group of parameters", "nats lost, mean", "put back alone, saves", "swapped alone, loses")
PATCHES_HEADER: Row = ("old activations in the fine-tuned model", "saves")
LAYERS_HEADER: Row = ("group", "layer", "nats lost, mean", "± standard error")

_GROUPS, _PATCHES, _EDITS, _LAYERS = "causes_groups", "causes_activations", "causes_edits", "causes_layers"
"""Names of the tables' files."""


def causes_rows(attribution: Attribution) -> list[Row]:
    """A row for each lost edit, in the columns of ``CAUSES_HEADER``, the largest loss first.

    A group's number is what it cost the edit, in nats per token; it is below 0 where it gave something back. Behind
    them stands the smallest set of groups whose return saves the edit, and the cause with its confidence.
    """
    return [_causes_row(edit) for edit in _largest_first(attribution)]


def causes_records(attribution: Attribution) -> list[dict[str, object]]:
    """What ``causes_rows`` shows, unrounded."""
    return [
        {
            "question": edit.question,
            "target_new": edit.target_new,
            "became": edit.became,
            "judged_by": edit.judged_by,
            "nats": sum(edit.losses().values()),
            **{str(group): loss for group, loss in edit.losses().items()},
            "smallest": " + ".join(edit.smallest),
            "verdict": edit.verdict,
            "confidence": edit.confidence,
            "verdict_by_activations": edit.activations.verdict,
        }
        for edit in _largest_first(attribution)
    ]


def _largest_first(attribution: Attribution) -> list[LostEdit]:
    return sorted(attribution.edits, key=lambda edit: -sum(edit.losses().values()))


def _causes_row(edit: LostEdit) -> Row:
    losses = edit.losses()
    by_nll = " (NLL)" if edit.judged_by == "nll" else ""
    return (
        edit.question,
        edit.target_new,
        edit.became,
        f"{sum(losses.values()):.2f}{by_nll}",
        *(f"{losses[group]:.2f}" for group in GROUPS),
        " + ".join(edit.smallest),
        f"{edit.verdict} ({edit.confidence:.2f})",
        edit.activations.verdict,
    )


def means_rows(attribution: Attribution) -> list[Row]:
    """A row for each group and one for the whole, in the columns of ``MEANS_HEADER``.

    Nats are those of the margin, over the lost edits that have an old object; of the NLL if none has one.
    """
    of = len(attribution.edits)
    means = mean_losses(attribution)
    rows: list[Row] = []
    for group in GROUPS:
        saves, loses = _turned(attribution, group)
        name = group if group in attribution.trained else f"{group} (nothing trained)"
        rows.append((name, f"{means[group]:.2f}", f"{saves} of {of}", f"{loses} of {of}"))
    return [*rows, ("all", f"{sum(means.values()):.2f}", f"{of} of {of}", f"{of} of {of}")]


def means_records(attribution: Attribution) -> list[dict[str, object]]:
    """What ``means_rows`` shows of each group, unrounded."""
    means, of = mean_losses(attribution), len(attribution.edits)
    records = []
    for group in GROUPS:
        saves, loses = _turned(attribution, group)
        own: dict[str, object] = {"group": group, "trained": group in attribution.trained, "nats": means[group]}
        records.append({**own, "put_back_saves": saves, "swap_loses": loses, "edits": of})
    return records


def _turned(attribution: Attribution, group: Group) -> tuple[int, int]:
    """How many lost edits a group saves if it alone is put back, and loses if it alone is swapped in."""
    parts = [edit.groups[group] for edit in attribution.edits]
    return sum(part.put_back_saves for part in parts), sum(part.swap_loses for part in parts)


def mean_losses(attribution: Attribution) -> dict[Group, float]:
    """What each group cost the lost edits, as means in nats per token; NaN without lost edits."""
    known = [edit for edit in attribution.edits if not math.isnan(edit.margin_tuned)]
    by_margin = {group: _mean([-edit.groups[group].margin for edit in known]) for group in GROUPS}
    by_nll = {group: _mean([edit.groups[group].nll for edit in attribution.edits]) for group in GROUPS}
    return by_margin if known else by_nll


def patches_rows(attribution: Attribution) -> list[Row]:
    """How many lost edits old activations bring back, in the columns of ``PATCHES_HEADER``."""
    return [(name, f"{count} of {len(attribution.edits)}") for name, count in _saved(attribution).items()]


def patches_records(attribution: Attribution) -> list[dict[str, object]]:
    """What ``patches_rows`` shows, as numbers."""
    of = len(attribution.edits)
    return [{"old_activations": name, "saves": count, "edits": of} for name, count in _saved(attribution).items()]


def _saved(attribution: Attribution) -> dict[str, int]:
    parts = [edit.activations for edit in attribution.edits]
    return {
        "keys at the lookup token": sum(part.key_saves for part in parts),
        "outputs of the written matrices there": sum(part.value_saves for part in parts),
        "hidden state behind the last edited layer there": sum(part.hidden_saves for part in parts),
        "hidden states behind that layer at all tokens": sum(part.everywhere_saves for part in parts),
    }


def layers_rows(attribution: Attribution) -> list[Row]:
    """What each layer of each group cost, in the columns of ``LAYERS_HEADER``; none unless that was asked for."""
    return [
        (
            share.group,
            "" if share.layer is None else str(share.layer),
            f"{-share.margin:.2f}",
            "" if math.isnan(share.error) else f"{share.error:.2f}",
        )
        for share in attribution.layer_shares
    ]


def layers_records(attribution: Attribution) -> list[dict[str, object]]:
    """What ``layers_rows`` shows, unrounded."""
    return [
        {"group": share.group, "layer": share.layer, "nats": -share.margin, "standard_error": share.error}
        for share in attribution.layer_shares
    ]


def causes_notes(attribution: Attribution) -> list[str]:
    """What a reader must know of the tables: counts, what the means are over, agreement, and the cost."""
    edits, at = attribution.edits, f"at step {attribution.step} ({attribution.rule})"
    never = attribution.never_took
    apart = f"; {never} that never took have nothing to lose" if never else ""
    lines = [f"{len(edits)} of {attribution.took} edits that took are lost {at}{apart}"]
    if not edits:
        return lines
    counts = Counter(edit.verdict for edit in edits)
    lines.append("causes: " + ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict]))
    without = sum(math.isnan(edit.margin_tuned) for edit in edits)
    value = "NLL" if without == len(edits) else "margin, log p(new) − log p(old)"
    over = len(edits) if without == len(edits) else len(edits) - without
    lines.append(f"means are over {over} lost edits, in nats per token of the {value}")
    agree, both = attribution.agreement()
    lines.append(f"of {both} edits of which both views name a cause, it is the same one for {agree}")
    if attribution.left_out:
        lines.append(f"{attribution.left_out} lost by the records hold when asked again, by rounding, and are left out")
    lines.append(f"cost: {attribution.probes} probes of the lost edits, {attribution.seconds:.1f} s")
    return lines


def write_causes(folder: Path, attribution: Attribution) -> Path:
    """Write ``report/causes.md`` into a run's folder, and beside it each of its tables as CSV and LaTeX.

    Args:
        folder: The run's folder.
        attribution: What was found.

    Returns:
        The file.
    """
    path = folder / "report" / "causes.md"
    write_atomically(path, lambda temporary: temporary.write_text(causes_markdown(attribution), encoding="utf-8"))
    replace_tables(path.parent, (_GROUPS, _PATCHES, _EDITS, _LAYERS), causes_tables(attribution))
    return path


def causes_markdown(attribution: Attribution) -> str:
    """Notes and tables of an attribution, as Markdown."""
    notes = "".join(f"- {markdown_text(line)}\n" for line in causes_notes(attribution))
    return "\n".join([notes, *(markdown_table(table.header, table.rows) for table in causes_tables(attribution))])


def causes_tables(attribution: Attribution) -> list[Table]:
    """All tables of an attribution; none without lost edits."""
    if not attribution.edits:
        return []
    costs, back = "Which parameters cost the lost edits what?", "What brings the lost edits back?"
    tables = [
        Table(_GROUPS, costs, MEANS_HEADER, means_rows(attribution), means_records(attribution)),
        Table(_PATCHES, back, PATCHES_HEADER, patches_rows(attribution), patches_records(attribution)),
        Table(_EDITS, "Why was each edit lost?", CAUSES_HEADER, causes_rows(attribution), causes_records(attribution)),
    ]
    if attribution.layer_shares:
        rows, records = layers_rows(attribution), layers_records(attribution)
        tables.append(Table(_LAYERS, "Which layers?", LAYERS_HEADER, rows, records))
    return tables


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
