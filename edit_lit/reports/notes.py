"""What a reader must know of a run before its numbers: whether the edit took, how the run ended, its seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import Rule, made_right
from edit_lit.reports.fact_texts import fact_names
from edit_lit.reports.run import Run
from edit_lit.reports.run_record import Segment, State

_SEED_NAMES = {
    "data.seed": "data order",
    "data.edits.seed": "edits",
    "data.intrinsic.seed": "intrinsic",
    "data.intrinsic.source.seed": "intrinsic",
    "data.task.seed": "task",
    "model.seed": "dropout",
    "model.tuning.seed": "adapter",
}


def run_notes(run: Run) -> list[str]:
    """Lines to stand above a run's table, the gravest first."""
    lines = (control_note(run), edit_note(run), ending_note(run), baseline_note(run), seeds_note(run))
    return [line for line in lines if line]


def control_note(run: Run) -> str:
    """That nothing was edited, and whose control the run is; nothing for a run that edits."""
    if not run.is_control:
        return ""
    control = (run.segment.control if run.segment is not None else None) or {}
    if not control.get("editor"):
        return "a control: nothing was edited"
    return (
        f"a control: nothing was edited; layers chosen by the edit are those that {control['editor']} would change, "
        f"{control['layers']}"
    )


def edit_note(run: Run) -> str:
    """That the edit did not take, if it made fewer than half of the wrong facts right; else nothing."""
    before = run.before(Pool.EDITED)
    if before is None or baseline_note(run):
        return ""
    baseline = next(iter(run.curve(Pool.EDITED).values()))
    gained, wrong_before = made_right(before, baseline, Rule.EXACT)
    if 2 * gained >= wrong_before > 0:
        return ""
    facts = len(before.request.unique())
    return f"the edit did not take: {gained} of {facts} facts are right after it that were not before (exact)"


def ending_note(run: Run) -> str:
    """How the run ended, unless it took every step that was planned."""
    last, segment = run.last_step, run.segment
    if run.diverged_at is not None:
        return f"diverged at step {run.diverged_at}; the last numbers are those of step {last}"
    if segment is None:
        return f"whether this run finished is not recorded (no run.json); its last probe is of step {last}"
    reached = segment.step if segment.state is not State.RUNNING else max(last, segment.step)
    where = f"step {reached}" if segment.steps_planned is None else f"step {reached} of {segment.steps_planned}"
    if segment.state is State.FINISHED:
        return _stop_note(segment, reached, where)
    if segment.state is State.RUNNING:
        return f"not finished: it was killed, or still runs; seen last at {where}"
    why = f"{segment.state}: {segment.error}" if segment.error and segment.state is State.FAILED else segment.state
    probed = "" if last == reached else f"; last probe at step {last}"
    return f"stopped at {where} ({why}){probed}"


def _stop_note(segment: Segment, reached: int, where: str) -> str:
    """At which score a finished run ended, or did not come to; nothing if it was to take all steps, and did."""
    for stop in segment.stops:
        score = stop_text(stop)
        if stop["reached"]:
            return f"ended at {where}, at the first evaluation with {score}"
        if segment.steps_planned in (None, reached):
            return f"never came to {score}, up to {where}"
    return "" if segment.steps_planned in (None, reached) else f"ended by a rule of its own at {where}"


def stop_text(stop: Mapping[str, Any]) -> str:
    """A rule by which runs end, such as ``downstream/val_loss < 3.0``."""
    return f"{stop['monitor']} {'<' if stop['mode'] == 'min' else '>'} {stop['threshold']}"


def name_mark(run: Run) -> str:
    """What must stand behind a run's name among others: that it is a control, and how it ended if not as planned."""
    return ", ".join(filter(None, ("control" if run.is_control else "", ending_mark(run))))


def ending_mark(run: Run) -> str:
    """How the run ended, in a few words behind its name; nothing if it finished or nobody knows."""
    if run.diverged_at is not None:
        return f"diverged at {run.diverged_at}"
    segment = run.segment
    if segment is None or segment.state is State.FINISHED:
        return ""
    planned = "" if segment.steps_planned is None else f" of {segment.steps_planned}"
    return f"not finished: {max(run.last_step, segment.step)}{planned}"


def last_column(run: Run) -> str:
    """What the last column of a run's table is about: the end of fine-tuning only if the run came there."""
    segment = run.segment
    if run.diverged_at is not None:
        return f"at step {run.last_step}, before it diverged"
    if segment is not None and segment.state is State.FINISHED:
        return "after fine-tuning"
    planned = "" if segment is None or segment.steps_planned is None else f" of {segment.steps_planned}"
    return f"at step {run.last_step}{planned}"


def baseline_note(run: Run) -> str:
    """That the probe is missing which retention should be measured against; nothing if it is there."""
    first = min(run.curve(run.main_pool))
    return f"no probe from before the training: retention is measured against step {first}" if first > 0 else ""


def seeds_note(run: Run) -> str:
    """The run's seeds, such as ``seed 0: data order 0, edits 4, intrinsic 101``; nothing if they are not recorded."""
    seeds = run.segment.seeds if run.segment is not None else {}
    return _seeds(seeds) if seeds else ""


def comparison_notes(
    runs: Sequence[Run], names: Sequence[str], left_out: Sequence[str] = (), rule: Rule = Rule.EXACT
) -> list[str]:
    """Lines to stand with several runs' table: what sets them apart unasked, and what is missing.

    Args:
        runs: The runs.
        names: What they are called.
        left_out: Why other runs are not among them, a line each.
        rule: The success rule of the table.
    """
    notes = [] if rule is Rule.EXACT else [f"scores are by the rule {rule}"]
    for run, name in zip(runs, names, strict=True):
        ended = ending_mark(run) or (run.segment is not None and run.segment.stops)
        own = (control_note(run), edit_note(run), ending_note(run) if ended else "", baseline_note(run))
        notes += [f"{name}: {note}" for note in own if note]
    notes += _unlike(runs, names, rule)
    known = {name: run.segment.seeds for run, name in zip(runs, names, strict=True) if run.segment is not None}
    by_seeds: dict[str, list[str]] = {}
    for name, seeds in known.items():
        by_seeds.setdefault(_seeds(seeds), []).append(name)
    if len(by_seeds) > 1:
        listed = "; ".join(f"{', '.join(of_seeds)} with {seeds}" for seeds, of_seeds in by_seeds.items())
        notes.append(f"the runs differ in seeds: {listed}")
    if len(known) < len(runs):
        unknown = ", ".join(name for name in names if name not in known)
        notes.append(f"whether they finished, and their seeds, are not recorded (no run.json): {unknown}")
    return notes + [f"left out: {line}" for line in left_out]


def _unlike(runs: Sequence[Run], names: Sequence[str], rule: Rule) -> list[str]:
    """Where runs side by side have other facts, other steps, or facts that the rule cannot judge."""
    notes = []
    ends = {name: run.last_step for run, name in zip(runs, names, strict=True)}
    if len(set(ends.values())) > 1:
        listed = ", ".join(f"{name} at {end}" for name, end in ends.items())
        notes.append(f"the runs were probed last at other steps: {listed}")
    asked = {name: fact_names(run, run.main_pool) for run, name in zip(runs, names, strict=True)}
    named = {name: Counter(of_run.fact) for name, of_run in asked.items() if of_run is not None}
    (first, its_facts), *others = named.items() if named else [("", Counter[str]())]
    for name, facts in others:
        shared = (facts & its_facts).total()
        if shared < max(facts.total(), its_facts.total()):
            notes.append(f"other facts: {name} shares {shared} of its {facts.total()} with {first}")
    for run, name in zip(runs, names, strict=True):
        fates = run.fates(run.main_pool, rule)
        if fates is not None and fates.not_judged:
            notes.append(
                f"{name}: {len(fates.not_judged)} facts cannot be judged by {rule}, for they have no old object"
            )
    return notes


def _seeds(seeds: Mapping[str, int | None]) -> str:
    parts = [f"{_SEED_NAMES.get(name, name)} {seed}" for name, seed in seeds.items() if name != "seed_everything"]
    whole = seeds.get("seed_everything")
    return ("no global seed" if whole is None else f"seed {whole}") + (f": {', '.join(parts)}" if parts else "")
