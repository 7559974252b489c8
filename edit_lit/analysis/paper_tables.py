"""Tables in the layout of the two studies, by their own definitions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from edit_lit.analysis.bootstrap import LEAST_RUNS
from edit_lit.analysis.paper_scores import BEFORE, CLASSES, EDITED, PAPER_RULES, TUNED
from edit_lit.analysis.study import Study
from edit_lit.analysis.sweep import Labels
from edit_lit.analysis.trial_result import TrialResult
from edit_lit.measures.mean_interval import mean_interval
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import Rule
from edit_lit.reports.table import Row
from edit_lit.reports.table_files import Table

_SCORES = {"ES": "efficacy", "PS": "generalization", "NS": "specificity"}
_OWN_NOTE = (
    "as in the studies, every fact that is right after the edit counts, also one that was right before; of five runs "
    "or more their mean, else each run's value"
)

FIRST_STUDY_HEADER: Row = (
    "arm",
    "rule",
    "runs",
    *(f"{score} {stage}" for score in _SCORES for stage in ("edited", "edited + tuned")),
    "EFR",
    *CLASSES,
    "relative decay",
    "downstream",
)


def first_study_table(study: Study) -> Table:
    """The first study's scores by arm and rule: before and after fine-tuning, flip rate, classes and decay."""
    rows = []
    for arm in study.arms:
        runs = [result for result in study.cells[arm].values() if result.pool is Pool.EDITED]
        for rule in PAPER_RULES if runs else ():
            scores = [result.papers[rule] for result in runs]
            if not any(item.stages.get(EDITED) for item in scores):
                continue
            cells = [
                _cell([item.stages.get(stage, {}).get(name, math.nan) for item in scores])
                for name in _SCORES.values()
                for stage in (EDITED, TUNED)
            ]
            cells += [_cell([item.transitions[name] for item in scores]) for name in ("edit_flip_rate", *CLASSES)]
            cells += [_cell([item.relative_decay for item in scores]), _downstream(runs, last=True)]
            rows.append((study.arm_title(arm), str(rule), str(len(runs)), *cells))
    notes = (
        "ES, PS, NS: efficacy, generalization, specificity in %. The study scores CounterFact by prob and zsRE by "
        "token; its flip rate is by a yes or no, which under token is that all tokens are right",
        "relative decay is (ES edited − ES edited + tuned) / ES edited",
        _OWN_NOTE,
    )
    return Table("papers", "As the first study scores (2511.05852)", FIRST_STUDY_HEADER, rows, notes=notes)


SECOND_STUDY_HEADER: Row = ("arm", "runs", "edited", "intrinsic", "edited − intrinsic")


def second_study_table(study: Study) -> Table:
    """The second study's retention of edited and intrinsic facts side by side."""
    rows = []
    for arm in study.arms:
        runs = [result for result in study.cells[arm].values() if result.pool is Pool.EDITED]
        if runs:
            pools = [
                [result.first_token.get(pool, math.nan) for result in runs] for pool in (Pool.EDITED, Pool.INTRINSIC)
            ]
            gaps = [edited - intrinsic for edited, intrinsic in zip(*pools, strict=True)]
            cells = [_with_interval(values) for values in (*pools, gaps)]
            rows.append((study.arm_title(arm), str(len(runs)), *cells))
    notes = (
        "retention in % by the rule first: the first token of the answer is the likeliest. The study judges intrinsic "
        "facts by what the model generates instead",
        "as in the study, every fact that is right after the edit counts, also one that was right before; 95 % "
        "intervals over runs, of fewer than five runs each run's value",
    )
    title = "Retention as the second study shows it (2507.14198)"
    return Table("papers_retention", title, SECOND_STUDY_HEADER, rows, notes=notes)


GROUPS_HEADER: Row = ("arm", "group", "rule", "runs", *_SCORES, "downstream")


def groups_table(study: Study) -> Table:
    """The first study's four groups: base, fine-tuned, edited, and edited and fine-tuned."""
    rules = tuple(dict.fromkeys((Rule.PROB, study.rule if study.rule in PAPER_RULES else Rule.EXACT)))
    rows = [row for arm in study.arms for rule in rules for row in _groups(study, arm, rule)]
    notes = (
        "the new object is the right answer in all groups. fine-tuned is the control trial, which edits nothing, with "
        "the same other labels and replicate; it asks no neighbours, so that it has no NS",
        "base and edited have the downstream score of step 0, the base that of the control trial",
    )
    title = "The four groups of the first study"
    return Table("groups", title, GROUPS_HEADER, rows, notes=notes)


def _groups(study: Study, arm: Labels, rule: Rule) -> Iterator[Row]:
    edited = {place: run for place, run in study.cells[arm].items() if run.pool is Pool.EDITED}
    if not edited or not any(run.papers[rule].stages.get(EDITED) for run in edited.values()):
        return
    controls, missing = _controls(study, arm)
    tuned_only = [controls[place] for place in edited if place in controls]
    runs = list(edited.values())
    groups = (
        ("base", runs, BEFORE, _downstream(tuned_only, last=False)),
        ("fine-tuned", tuned_only, TUNED, _downstream(tuned_only, last=True)),
        ("edited", runs, EDITED, _downstream(runs, last=False)),
        ("edited and fine-tuned", runs, TUNED, _downstream(runs, last=True)),
    )
    for group, of_group, stage, downstream in groups:
        scores = [run.papers[rule].stages.get(stage) for run in of_group]
        known = [item for item in scores if item]
        if known:
            cells = [_cell([item.get(name, math.nan) for item in known]) for name in _SCORES.values()]
            yield (study.arm_title(arm), group, str(rule), str(len(known)), *cells, downstream)
        else:
            why = missing if group == "fine-tuned" else "the unedited model was not asked"
            yield (study.arm_title(arm), group, str(rule), f"absent: {why}", "", "", "", downstream)


def _controls(study: Study, arm: Labels) -> tuple[Mapping[Labels, TrialResult], str]:
    """The control trials of an arm by replicate: those of the arm that edits nothing and differs in one axis alone."""
    found = [
        other
        for other in study.arms
        if study.is_control(other) and sum(own != theirs for own, theirs in zip(arm, other, strict=True)) == 1
    ]
    if len(found) == 1:
        return study.cells[found[0]], "no finished control trial of these replicates"
    return {}, "several control arms fit" if found else "no finished control trial with the same other labels"


def _downstream(runs: Sequence[TrialResult], last: bool) -> str:
    """The downstream accuracy, or the loss where there is none, at the end or at step 0."""
    for tag, show in (("val_accuracy", _percent), ("val_loss", "{:.3f} (loss)".format)):
        points = [run.downstream[tag] for run in runs if tag in run.downstream]
        values = [series[-1][1] if last else dict(series).get(0, math.nan) for series in points]
        text = _cell(values, show)
        if text:
            return text
    return ""


def _with_interval(values: Sequence[float]) -> str:
    """The mean with its interval over runs, or each run's value; how many runs have none is said."""
    known = [value for value in values if not math.isnan(value)]
    mean, low, high = mean_interval(known)
    if math.isnan(low):
        return _cell(values)
    missing = f" ({len(known)} of {len(values)} runs)" if len(known) < len(values) else ""
    return f"{_percent(mean)} [{_percent(low)}, {_percent(high)}]{missing}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _cell(values: Sequence[float], show: Callable[[float], str] = _percent) -> str:
    """The mean of five runs or more, or each run's value; how many runs have none is said."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return ""
    mean = math.fsum(known) / len(known)
    text = show(mean) if len(known) >= LEAST_RUNS else ", ".join(show(value) for value in known)
    return text if len(known) == len(values) else f"{text} ({len(known)} of {len(values)} runs)"
