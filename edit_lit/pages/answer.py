"""The answer of a run in a few sentences with numbers."""

from __future__ import annotations

from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import Rule, TransitionCounts, wilson_interval
from edit_lit.reports.notes import ending_mark
from edit_lit.reports.run import Run


def answer(run: Run, rule: Rule = Rule.EXACT) -> list[str]:
    """What became of the facts under study, of the control within the run, and of the downstream task.

    Args:
        run: The run.
        rule: The success rule.
    """
    return [line for line in (_own_facts(run, rule), _intrinsic(run, rule), _downstream(run)) if line]


def _last(run: Run, pool: Pool, rule: Rule) -> TransitionCounts | None:
    counts = list(run.transitions(pool, rule).values())
    return counts[-1] if counts and counts[-1].baseline_successes else None


def _when(run: Run) -> str:
    mark = ending_mark(run)
    return f"After {run.last_step} steps of fine-tuning{f' ({mark})' if mark else ''}"


def _own_facts(run: Run, rule: Rule) -> str:
    last = _last(run, run.main_pool, rule)
    if run.main_pool is Pool.INTRINSIC:
        return "No fact was edited, and none asked in an edit's stead: the run tells of ordinary forgetting alone."
    if last is None:
        return f"No fact was right at the baseline by the rule {rule}, so nothing can be said of what survives."
    if run.is_control:
        return (
            f"Nothing was edited. {_when(run)} {last.stable} of the {last.baseline_successes} facts that the model "
            f"knew are still right ({rule}): {_share(last)}."
        )
    taken = f"The edit made {last.baseline_successes} of {last.total} facts right"
    if run.last_step == 0:
        return f"{taken} ({rule}). Nothing was fine-tuned."
    return f"{taken}. {_when(run)} {last.stable} of them still are ({rule}): {_share(last)}.{_lost(last, rule)}"


def _lost(last: TransitionCounts, rule: Rule) -> str:
    if not last.erased or rule is Rule.PROB:
        return ""
    return f" Of the lost ones {last.reverted} went back to the old object and {last.displaced} became something else."


def _intrinsic(run: Run, rule: Rule) -> str:
    counts = _last(run, Pool.INTRINSIC, rule)
    if counts is None or run.last_step == 0:
        return ""
    return (
        f"Of the intrinsic facts, which no edit touches, {counts.stable} of {counts.baseline_successes} are left: "
        f"{_share(counts)}. These intervals are over the facts of this run, and say nothing of another seed."
    )


def _downstream(run: Run) -> str:
    parts = []
    for tag, name, show in (
        ("val_loss", "loss", "{:.3f}".format),
        ("val_accuracy", "accuracy", "{:.1%}".format),
    ):
        curve = run.downstream.get(tag)
        if curve:
            first = f"from {show(curve[0][1])} (step {curve[0][0]}) " if len(curve) > 1 else ""
            parts.append(f"{name} {'went ' if first else 'came '}{first}to {show(curve[-1][1])} (step {curve[-1][0]})")
    return f"Downstream {', '.join(parts)}." if parts else ""


def _share(counts: TransitionCounts) -> str:
    low, high = wilson_interval(counts.stable, counts.baseline_successes)
    return f"{counts.retention:.1%} [{low:.1%}, {high:.1%}]"
