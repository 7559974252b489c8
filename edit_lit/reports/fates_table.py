"""What became of a run's facts in numbers: fates by step, and survival."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edit_lit.measures.fates import FATES, Fate, Fates
from edit_lit.measures.scores import half_life
from edit_lit.measures.survival import Incidence, Loss, cumulative_incidence, restricted_mean
from edit_lit.reports.table import Row

STEPS_HEADER: Row = ("step", *map(str, FATES), "died since the last probe", "came back", "never lost so far")
SURVIVAL_HEADER: Row = ("", "")
SURVIVAL_COLUMNS = ("quantity", "fate", "step", "value", "facts")
"""The columns of survival's records: a quantity, at one probe or up to it, over or among so many facts."""

_LIVES = {
    Loss.FIRST: "survival (RMST): share of the time until the first loss",
    Loss.CONFIRMED: "the same until a loss that the next probe confirms",
    Loss.CURRENT: "share of the time alive, returns included",
}


def first_losses(fates: Fates) -> Incidence:
    """Survival and the cumulative incidence of each kind of first loss, in the order of ``FATES``, over the probes."""
    return cumulative_incidence(*fates.first_losses(), len(fates.steps), len(FATES))


def steps_table(fates: Fates) -> list[Row]:
    """A row for each probe, in the columns of ``STEPS_HEADER``."""
    return [(*map(str, numbers), f"{share:.1%}") for *numbers, share in _steps(fates)]


def steps_records(fates: Fates) -> list[dict[str, object]]:
    """What ``steps_table`` shows, with shares unrounded; none without facts that count."""
    return [dict(zip(STEPS_HEADER, numbers, strict=True)) for numbers in _steps(fates)] if len(fates) else []


def _steps(fates: Fates) -> Iterator[tuple[int | float, ...]]:
    never_lost = first_losses(fates).survival_T
    columns = (fates.steps, *fates.counts().values(), fates.deaths(), fates.returns(), never_lost)
    return zip(*(column.tolist() for column in columns), strict=True)


def survival_table(fates: Fates) -> list[Row]:
    """Survival up to the last probe, in the columns of ``SURVIVAL_HEADER``."""
    without = _not_counted(fates)
    excluded = ", ".join(f"{count} {why}" for why, count in without.items() if count)
    rows: list[Row] = [
        ("facts that count", f"{len(fates)} of {len(fates) + sum(without.values())}"),
        ("do not count", excluded or "none"),
    ]
    if not len(fates):
        return rows
    end = int(fates.steps[-1])
    alive_TF, incidence = fates.alive_TF, first_losses(fates)
    last = {fate: int(counts[-1]) for fate, counts in fates.counts().items()}
    rows += [
        (f"at step {end}", ", ".join(f"{count} {fate}" for fate, count in last.items())),
        ("deaths, returns", f"{fates.deaths().sum()}, {fates.returns().sum()}"),
        ("never lost", f"{incidence.survival_T[-1]:.1%}"),
    ]
    for place, fate in enumerate(FATES):
        if fate is not Fate.ALIVE:
            rows.append((f"first lost as {fate}", f"{incidence.by_kind_KT[place, -1]:.1%}"))
    for loss, title in _LIVES.items():
        rows.append((title, f"{restricted_mean(fates.steps, alive_TF, loss=loss).mean():.3f}"))
    rows.append(("half-life of first losses", half_life_text(fates, incidence.survival_T)))
    rows.append(("half-life, returns included", half_life_text(fates, alive_TF.mean(axis=1))))
    return rows


def survival_records(fates: Fates) -> list[dict[str, object]]:
    """What ``survival_table`` shows, in ``SURVIVAL_COLUMNS``; a half-life behind the last probe has no value."""
    without = _not_counted(fates)
    every = len(fates) + sum(without.values())
    unknown = {"right before the edit"} if fates.already_right is None else set()
    records: list[dict[str, object]] = [
        {"quantity": what, "value": None if what in unknown else count, "facts": every}
        for what, count in {"facts that count": len(fates), **without}.items()
    ]
    if not len(fates):
        return records
    alive_TF, incidence = fates.alive_TF, first_losses(fates)
    up_to = {"step": int(fates.steps[-1]), "facts": len(fates)}

    def add(quantity: str, value: object, fate: Fate | None = None) -> None:
        records.append({"quantity": quantity, "fate": fate, "value": value, **up_to})

    for fate, counts in fates.counts().items():
        add("at the last probe", int(counts[-1]), fate)
    add("deaths", int(fates.deaths().sum()))
    add("returns", int(fates.returns().sum()))
    add("never lost", float(incidence.survival_T[-1]))
    for place, fate in enumerate(FATES):
        if fate is not Fate.ALIVE:
            add("first lost", float(incidence.by_kind_KT[place, -1]), fate)
    for loss in _LIVES:
        add(f"share of the time alive ({loss})", float(restricted_mean(fates.steps, alive_TF, loss=loss).mean()))
    add("half-life of first losses", half_life(fates.steps.tolist(), incidence.survival_T.tolist()))
    add("half-life, returns included", half_life(fates.steps.tolist(), alive_TF.mean(axis=1).tolist()))
    return records


def _not_counted(fates: Fates) -> dict[str, int]:
    """How many facts have no fate, by the reason."""
    return {
        "never taken": len(fates.never_taken),
        "right before the edit": len(fates.already_right or ()),
        "not judged by the rule": len(fates.not_judged),
    }


def half_life_text(fates: Fates, share_T: np.ndarray) -> str:
    """The first step at which half of the facts or fewer are left, or that it lies behind the last probe."""
    found = half_life(fates.steps.tolist(), share_T.tolist())
    return f"> {fates.steps[-1]}" if found is None else f"step {found}"
