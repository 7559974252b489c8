"""What a trial came to: its state, and the numbers of its run that are compared between trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from edit_lit.analysis.cause_samples import cause_samples
from edit_lit.analysis.covariates import fact_covariates
from edit_lit.analysis.fact_curves import FactCurve, fact_curve, success_by_fact
from edit_lit.analysis.paper_scores import PAPER_RULES, PaperScores, first_token_retention, paper_scores
from edit_lit.analysis.quantities import (
    AFTER_EDIT,
    AREA,
    AT_END,
    DOWNSTREAM,
    FIRST_LOST,
    GAP,
    INTRINSIC,
    RETENTION,
    RMST,
    RMST_CONFIRMED,
    RMST_INTRINSIC,
    SEEN,
    STOPPED,
    TRAINED,
    UNSEEN,
)
from edit_lit.analysis.samples import Sample, Values
from edit_lit.analysis.sweep import Trial
from edit_lit.attribution.file import read_attribution
from edit_lit.measures.outcome_files import FOLDER, FactNames, distinct, read_names
from edit_lit.measures.outcomes import Kind, Pool
from edit_lit.measures.scores import Rule
from edit_lit.measures.seen_facts import read_seen
from edit_lit.measures.survival import Loss
from edit_lit.reports.metrics_file import Series
from edit_lit.reports.notes import ending_note
from edit_lit.reports.run import Run
from edit_lit.reports.run_record import RunRecord, State
from edit_lit.sweeps.status import Stage, Status
from edit_lit.utilities.errors import ConfigError

NOT_STARTED = "not started"
NOT_RECORDED = "not recorded"
UNREADABLE = "unreadable"
NOT_TRAINED = "stopped at step 0"

_FATES = {quantity.name: fate for fate, quantity in FIRST_LOST.items()}


@dataclass(frozen=True)
class TrialResult:
    """A trial and what it came to.

    Args:
        trial: The trial.
        state: ``finished``, ``diverged``, ``interrupted``, ``failed``, ``running`` (or killed), ``not started``,
            ``not recorded``, ``unreadable``, or of a cycle ``stopped at step 0``.
        why: What there is to say of a state other than ``finished``.
        pool: The facts under study: ``edited``, or in a control ``unedited``.
        curves: The facts that count for retention, by pool.
        samples: Numbers by the name of their quantity, those that hang on no other trial.
        downstream: Curves of the downstream task by tag.
        papers: The studies' own scores by rule.
        first_token: The second study's retention by pool.
        covariates: What is known of each edited fact that counts before the fine-tuning, by name, in the curve's order.
        edit_seconds: How long the edit took when it was made.
        seconds: How long the run took, over all its stretches.
    """

    trial: Trial
    state: str
    why: str = ""
    pool: Pool | None = None
    curves: Mapping[Pool, FactCurve] = field(default_factory=dict)
    samples: Mapping[str, Sample] = field(default_factory=dict)
    downstream: Mapping[str, Series] = field(default_factory=dict)
    papers: Mapping[Rule, PaperScores] = field(default_factory=dict)
    first_token: Mapping[Pool, float] = field(default_factory=dict)
    covariates: Mapping[str, Values] = field(default_factory=dict)
    edit_seconds: float | None = None
    seconds: float | None = None

    @property
    def finished(self) -> bool:
        """Whether its numbers count."""
        return self.state == State.FINISHED

    @property
    def last_step(self) -> int | None:
        """The step of its last probe."""
        return max((curve.last_step for curve in self.curves.values()), default=None)

    @property
    def validated_at(self) -> int | None:
        """The step of its last downstream scores."""
        return max((self.downstream[tag][-1][0] for tag in DOWNSTREAM if tag in self.downstream), default=None)

    def sample(self, quantity: str, horizon: int | None = None) -> Sample | None:
        """A quantity's numbers; nothing if the run has none.

        Args:
            quantity: The quantity's name.
            horizon: The step up to which survival counts, common to all runs that are compared.
        """
        survivals = {
            RMST.name: (self.pool, Loss.FIRST),
            RMST_CONFIRMED.name: (self.pool, Loss.CONFIRMED),
            AREA.name: (self.pool, Loss.CURRENT),
            RMST_INTRINSIC.name: (Pool.INTRINSIC, Loss.FIRST),
        }
        if quantity in _FATES:
            curve = self.curves.get(self.pool) if self.pool is not None else None
            return curve.first_lost(_FATES[quantity], horizon) if curve is not None and horizon is not None else None
        if quantity not in survivals:
            return self.samples.get(quantity)
        pool, loss = survivals[quantity]
        curve = self.curves.get(pool) if pool is not None else None
        return curve.survival(horizon, loss) if curve is not None and horizon is not None else None


def state_of(folder: Path | None) -> tuple[str, RunRecord | None]:
    """The state of a run by its own record.

    Raises:
        ConfigError: If the record is damaged.
    """
    if folder is None:
        return NOT_STARTED, None
    record = RunRecord.read(folder)
    if record is None:
        return (NOT_RECORDED if (folder / FOLDER).exists() else NOT_STARTED), None
    return str(record.last.state), record


def read_run(trial: Trial) -> tuple[TrialResult, Run | None, Mapping[Pool, FactNames]]:
    """A trial's state and, if it can be read, its newest run with the names of its facts."""
    folder, record = trial.run, None
    try:
        state, record = state_of(folder)
        if folder is None or not (folder / FOLDER).exists():
            return _without_run(trial, state, record), None, {}
        run = Run.read(folder)
        names = read_names(folder / FOLDER, run.probes)
        _ = run.answers, read_attribution(folder)  # So that damaged ones are found here.
    except ConfigError as error:
        ended = record is not None and record.last.state in (State.DIVERGED, State.FAILED, State.INTERRUPTED)
        state = str(record.last.state) if ended and record is not None else UNREADABLE
        return TrialResult(trial, state, str(error), seconds=_seconds(record)), None, {}
    if run.diverged_at is not None:
        state = str(State.DIVERGED)
    elif state == State.FINISHED and trial.is_cycle and record is not None and not record.last.step:
        state = NOT_TRAINED
    why = "" if state == State.FINISHED else ending_note(run)
    result = TrialResult(trial, state, why, run.main_pool, downstream=run.downstream)
    return replace(result, edit_seconds=run.edit_seconds, seconds=_seconds(record)), run, names


def digest(read: TrialResult, run: Run, names: Mapping[Pool, FactNames], rule: Rule) -> TrialResult:
    """The numbers of a run that are compared between trials.

    Args:
        read: Its state.
        run: The run.
        names: The names of its facts.
        rule: The success rule.
    """
    facts = {pool: distinct(of_pool.fact) for pool, of_pool in names.items()}
    pools = [pool for pool in dict.fromkeys((run.main_pool, Pool.INTRINSIC)) if run.curve(pool)]
    curves = {pool: curve for pool in pools if (curve := fact_curve(run, pool, rule, facts[pool])) is not None}
    return replace(
        read,
        curves=curves,
        samples={**_samples(run, curves, facts, rule), **cause_samples(run, rule)},
        papers={each: paper_scores(run, each) for each in PAPER_RULES},
        first_token={pool: first_token_retention(run, pool) for pool in pools},
        covariates=_covariates(run, curves.get(Pool.EDITED), rule, names),
    )


def _covariates(run: Run, curve: FactCurve | None, rule: Rule, names: Mapping[Pool, FactNames]) -> Mapping[str, Values]:
    if curve is None or curve.fates is None:
        return {}
    return fact_covariates(run, curve.fates, rule, names[Pool.EDITED].fact)


def _samples(
    run: Run, curves: Mapping[Pool, FactCurve], facts: Mapping[Pool, tuple[str, ...]], rule: Rule
) -> dict[str, Sample]:
    found: dict[str, Sample | None] = {}
    edited = list(run.curve(Pool.EDITED).values())
    if edited:
        for kind in Kind:
            found[AFTER_EDIT[kind].name] = success_by_fact(edited[0], kind, rule, facts[Pool.EDITED])
            found[AT_END[kind].name] = success_by_fact(edited[-1], kind, rule, facts[Pool.EDITED])
    for quantity, pool in ((RETENTION, run.main_pool), (INTRINSIC, Pool.INTRINSIC)):
        if pool in curves:
            found[quantity.name] = curves[pool].at(-1)
    seen = read_seen(run.folder)
    if seen and run.main_pool in curves:
        own_facts = curves[run.main_pool].at(-1)
        found[SEEN.name], found[UNSEEN.name] = own_facts.among(seen), own_facts.among(seen, inside=False)
    if run.main_pool is not Pool.INTRINSIC and len(curves) == 2:
        own, intrinsic = (curves[pool].at(-1).mean for pool in (run.main_pool, Pool.INTRINSIC))
        found[GAP.name] = Sample.of_run(own - intrinsic)
    for tag, quantity in DOWNSTREAM.items():
        if tag in run.downstream:
            found[quantity.name] = Sample.of_run(run.downstream[tag][-1][1])
    if run.segment is not None:
        found[TRAINED.name] = Sample.of_run(run.segment.step)
        if run.segment.came_to_its_score is not None:
            found[STOPPED.name] = Sample.of_run(run.segment.came_to_its_score)
    return {name: sample for name, sample in found.items() if sample is not None}


def _without_run(trial: Trial, state: str, record: RunRecord | None) -> TrialResult:
    """A trial whose run was never probed; what its process says, if that failed before it had a record."""
    status = Status.read(trial.folder)
    if record is None and status.stage is Stage.FAILED:
        return TrialResult(trial, str(State.FAILED), status.error or "")
    error = (record.last.error or "") if record is not None else ""
    return TrialResult(trial, state, error, seconds=_seconds(record))


def _seconds(record: RunRecord | None) -> float | None:
    """Seconds that a run took, its stretches together; nothing if any of them has no end."""
    if record is None:
        return None
    total = 0.0
    for segment in record.segments:
        if segment.ended is None:
            return None
        total += (datetime.fromisoformat(segment.ended) - datetime.fromisoformat(segment.started)).total_seconds()
    return total
