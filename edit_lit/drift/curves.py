"""The drift's curves: what loggers get of each probe, and which of it is drawn together."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable

from edit_lit.drift.rows import FACT, DriftRow
from edit_lit.drift.training_texts import spread

MOST_LINES = 6
"""Lines of a chart; more layers are drawn at equal distances."""


def drift_charts(pools: Collection[str], keyed: Collection[int], edited: Collection[int]) -> dict[str, tuple[str, ...]]:
    """The tags of each chart by its title; a chart that would have none is left out.

    Args:
        pools: The pools of prompts that are read.
        keyed: The layers whose keys are read.
        edited: The layers that the Delta changes.
    """
    lines = {
        "change of hidden states": [_tag("representation", "relative", pool) for pool in pools],
        "change of keys": [_tag("key", "relative", _layer(layer)) for layer in keyed],
        "what is left of the writes": [_tag("value", "write_retention", _layer(layer)) for layer in keyed],
        "change along the Delta": [_tag("weight", "along_delta", _layer(layer)) for layer in edited],
    }
    return {
        title: tuple(tags[place] for place in spread(len(tags), MOST_LINES)) for title, tags in lines.items() if tags
    }


def drift_point(rows: Iterable[DriftRow]) -> dict[str, float]:
    """What loggers get of one probe, by tag.

    Numbers of single facts come as their mean, and those of hidden states at the prompts' last token as their mean over
    layers, so that there are few curves; the rows have the rest. What is not a number is left out, and what facts are
    like before the training, which is no curve.
    """
    values: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.part == FACT:
            continue
        if row.part in ("representation", "direction"):
            if row.position == "last":
                values[_tag(row.part, row.measure, str(row.pool))].append(row.value)
        else:
            values[_tag(row.part, row.measure, _layer(row.layer))].append(row.value)
    known = {tag: [value for value in of_tag if not math.isnan(value)] for tag, of_tag in values.items()}
    return {tag: math.fsum(of_tag) / len(of_tag) for tag, of_tag in known.items() if of_tag}


def _tag(part: str, measure: str, of: str) -> str:
    return f"drift/{part}/{measure}/{of}"


def _layer(layer: int) -> str:
    return f"layer_{layer}"
