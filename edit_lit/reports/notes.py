"""What a reader must know of a run before its numbers: whether the edit took, how the run ended, its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import Rule, made_right
from edit_lit.reports.run import Run
from edit_lit.reports.run_record import State

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
    return [line for line in (edit_note(run), ending_note(run), baseline_note(run), seeds_note(run)) if line]


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
        return "" if segment.steps_planned in (None, reached) else f"ended by a rule of its own at {where}"
    if segment.state is State.RUNNING:
        return f"not finished: it was killed, or still runs; seen last at {where}"
    why = f"{segment.state}: {segment.error}" if segment.error and segment.state is State.FAILED else segment.state
    probed = "" if last == reached else f"; last probe at step {last}"
    return f"stopped at {where} ({why}){probed}"


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


def comparison_notes(runs: Sequence[Run], names: Sequence[str], left_out: Sequence[str] = ()) -> list[str]:
    """Lines to stand with several runs' table: what sets them apart unasked, and what is missing."""
    notes = []
    for run, name in zip(runs, names, strict=True):
        own = (edit_note(run), ending_note(run) if ending_mark(run) else "", baseline_note(run))
        notes += [f"{name}: {note}" for note in own if note]
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


def _seeds(seeds: Mapping[str, int | None]) -> str:
    parts = [f"{_SEED_NAMES.get(name, name)} {seed}" for name, seed in seeds.items() if name != "seed_everything"]
    whole = seeds.get("seed_everything")
    return ("no global seed" if whole is None else f"seed {whole}") + (f": {', '.join(parts)}" if parts else "")
