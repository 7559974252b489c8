"""Sharing out facts among cycles."""

from __future__ import annotations

from collections.abc import Sequence

from edit_lit.facts.request import EditRequest, requests_hash
from edit_lit.reports.series_record import Cycle, SeriesRecord
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


def check_size(facts_per_cycle: int) -> None:
    """Refuse a number of facts for each cycle that is none.

    Raises:
        ConfigError: If it is below 1.
    """
    check_number("facts_per_cycle", facts_per_cycle, least=1)


def plan_cycles(requests: Sequence[EditRequest], size: int, seed: int, same_seed: bool = False) -> SeriesRecord:
    """The cycles of a series: facts in their order, each in one cycle.

    Args:
        requests: All facts.
        size: Facts in each cycle.
        seed: Seed of the series, and of its first cycle.
        same_seed: Give all cycles that seed, instead of one more for each.

    Raises:
        ConfigError: If there are no facts, or they do not make whole cycles.
    """
    if not requests:
        raise ConfigError("cycles edit the facts of data.edits, of which there are none. Name their source there.")
    if len(requests) % size:
        raise ConfigError(
            f"facts_per_cycle is {size}, but the {len(requests)} facts of data.edits make no whole cycles of that. Set "
            f"data.edits.limit to {len(requests) - len(requests) % size or size}, or choose another size."
        )
    cycles = []
    for number, first in enumerate(range(0, len(requests), size)):
        chosen = requests[first : first + size]
        cycles.append(
            Cycle(
                number,
                list(range(first, first + size)),
                [_called(request) for request in chosen],
                [request.id for request in chosen],
                seed if same_seed else (seed + number) % 2**32,
            )
        )
    return SeriesRecord(requests_hash(requests), cycles)


def _called(request: EditRequest) -> str:
    true = f"{request.target_true} " if request.target_true is not None else ""
    return f"{request.subject}: {true}→ {request.target_new}"
