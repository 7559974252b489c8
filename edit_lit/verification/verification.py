"""Asks a model what is demanded of it, and judges the answers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edit_lit.facts.request import EditRequest, fact_hash, subjects_of
from edit_lit.facts.source import FactSource
from edit_lit.language_model import LanguageModel
from edit_lit.measures.outcome_files import FOLDER, read_names, read_probes
from edit_lit.measures.outcomes import KINDS, Kind, Outcomes, Pool
from edit_lit.measures.probe import Probe
from edit_lit.measures.question_files import AskedQuestion
from edit_lit.measures.scores import Rule, success
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError
from edit_lit.verification.demand import RETENTION, RULES, Bound, Demands, Group
from edit_lit.verification.judging import Judged, Question, Shares, Standing, judge, shares_by_rule, shares_kept

_SOURCE = {Group.INTRINSIC: "intrinsic", Group.ERASED: "erased"}
_KIND = {
    Group.GENERALIZATION: Kind.PARAPHRASE,
    Group.SPECIFICITY: Kind.NEIGHBORHOOD,
    Group.PORTABILITY: Kind.PORTABILITY,
}


@dataclass(frozen=True)
class Answered:
    """What a model answered to the questions of one pool.

    Args:
        requests: The facts.
        questions: The questions, in the order of the outcomes.
        outcomes: The answers.
    """

    requests: Sequence[EditRequest]
    questions: Sequence[AskedQuestion]
    outcomes: Outcomes


@dataclass(frozen=True)
class Verdict:
    """What became of all demands.

    Args:
        judged: Each demand.
        answered: The answers behind them, by pool.
    """

    judged: Sequence[Judged]
    answered: Mapping[Pool, Answered]

    @property
    def standing(self) -> Standing:
        """``not judged`` if any demand could not be, else ``falls short`` if any does."""
        found = {item.standing for item in self.judged}
        return next(standing for standing in (Standing.NOT_JUDGED, Standing.SHORT, Standing.HOLDS) if standing in found)

    def failing(self, item: Judged) -> list[EditRequest]:
        """The facts that speak against a demand."""
        requests = self.answered[_pool(item.group)].requests
        return [requests[place] for place in item.failing]


class Verification:
    """Demands on a model, and the facts by which they are judged.

    Args:
        demands: What is demanded.
        edited: Facts that the model should hold as they were edited.
        intrinsic: Facts that nobody edited and that it should still know; those about a subject of ``edited`` or
            ``erased`` are passed over.
        erased: Edits that should be gone.
        baseline: Folder of an earlier run or verification; ``retention`` compares with its first probe after the edit.
        by: A bound must hold for the share (``point``), or for the worse end of its 95 % interval (``interval``).
        batch_tokens: Tokens in a batch, padding included.

    Raises:
        ConfigError: If a demand has no facts to be judged by, cannot be read, or needs a baseline that is not given.
    """

    def __init__(
        self,
        demands: Demands,
        edited: FactSource | None = None,
        intrinsic: FactSource | None = None,
        erased: FactSource | None = None,
        baseline: str | None = None,
        by: Literal["point", "interval"] = "point",
        batch_tokens: int = 8192,
    ) -> None:
        check_number("batch_tokens", batch_tokens, least=1)
        self.demands = demands
        self.edited, self.intrinsic, self.erased = edited, intrinsic, erased
        self.baseline = baseline
        self.by = by
        self.batch_tokens = batch_tokens
        self._bounds = list(demands.bounds())
        self._check_sources()
        self._check_baseline()

    def _check_sources(self) -> None:
        used = {_SOURCE.get(group, "edited") for group, *_ in self._bounds}
        for group, *_ in self._bounds:
            source = _SOURCE.get(group, "edited")
            if getattr(self, source) is None:
                raise ConfigError(f"demands.{group} is about {source} facts, but {source} names no source. Name one.")
        for source in ("edited", "intrinsic", "erased"):
            if getattr(self, source) is not None and source not in used:
                warnings.warn(f"{source} names facts of which nothing is demanded; they are not asked.", stacklevel=3)

    def _check_baseline(self) -> None:
        needing = [group for group, measure, _ in self._bounds if measure == RETENTION]
        if needing and self.baseline is None:
            raise ConfigError(
                f"demands.{needing[0]}.retention compares with a baseline, but baseline is not given. Name the folder "
                "of an earlier run or verification."
            )
        if self.baseline is not None and not needing:
            warnings.warn("baseline is given, but no retention is demanded, so it is not read.", stacklevel=3)

    def load(self) -> LoadedVerification:
        """Read the facts and the baseline, for which no model is needed.

        Raises:
            ConfigError: If a source yields no facts, a fact is both edited and erased, or the baseline has no records.
        """
        groups = {group for group, *_ in self._bounds}
        edited = self.edited.load() if self.edited is not None else []
        erased = self.erased.load() if self.erased is not None else []
        # As in a run: a fact whose subject was edited is no control.
        touched = subjects_of([*edited, *erased])
        wanted = self.intrinsic is not None and Group.INTRINSIC in groups
        intrinsic = self.intrinsic.load(exclude_subjects=touched) if self.intrinsic is not None and wanted else []
        both = {fact_hash(request) for request in edited} & {fact_hash(request) for request in erased}
        if both:
            name = next(request.name for request in edited if fact_hash(request) in both)
            raise ConfigError(f"{name} is among the edited facts and the erased ones. Leave it out of one.")
        needed = any(measure == RETENTION for _, measure, _ in self._bounds)
        known = _baseline(Path(self.baseline)) if self.baseline is not None and needed else {}
        asked = edited if groups & _OF_EDITED else [], erased if Group.ERASED in groups else []
        return LoadedVerification(self, self._bounds, *asked, intrinsic, known)


_OF_EDITED = {group for group in Group if group not in _SOURCE}


@dataclass(frozen=True)
class LoadedVerification:
    """A verification with its facts at hand.

    Args:
        options: How it is judged.
        bounds: The demands.
        edited: Facts that should be held.
        erased: Facts that should be gone; they are asked in one pool with ``edited``, behind them.
        intrinsic: Facts that nobody edited.
        baseline: Success of the baseline's questions, by pool.
    """

    options: Verification
    bounds: Sequence[tuple[Group, str, Bound]]
    edited: Sequence[EditRequest]
    erased: Sequence[EditRequest]
    intrinsic: Sequence[EditRequest]
    baseline: Mapping[Pool, Mapping[Question, float]]

    def run(self, language_model: LanguageModel) -> Verdict:
        """Ask a model, and judge its answers.

        Args:
            language_model: The model.
        """
        pools = {Pool.EDITED: [*self.edited, *self.erased], Pool.INTRINSIC: self.intrinsic}
        answered = {pool: self._ask(language_model, pool, requests) for pool, requests in pools.items() if requests}
        by_interval = self.options.by == "interval"
        judged = [
            judge(group, measure, bound, self._shares(answered[_pool(group)], group, measure), by_interval)
            for group, measure, bound in self.bounds
        ]
        return Verdict(judged, answered)

    def _ask(self, language_model: LanguageModel, pool: Pool, requests: Sequence[EditRequest]) -> Answered:
        probe = Probe(requests, language_model.tokenizer, pool, self.options.batch_tokens)
        return Answered(requests, probe.questions, probe.run(language_model, title=f"{pool} facts"))

    def _shares(self, answered: Answered, group: Group, measure: str) -> Shares:
        rows = answered.outcomes
        chosen = rows.kind == KINDS.index(_KIND.get(group, Kind.REWRITE))
        if group is not Group.INTRINSIC:
            chosen = chosen & ((rows.request >= len(self.edited)) == (group is Group.ERASED))
        if measure != RETENTION:
            return shares_by_rule(rows[chosen], RULES[measure])
        questions = [_key(answered.questions[place]) for place in chosen.nonzero()[:, 0].tolist()]
        return shares_kept(rows[chosen], questions, self.baseline.get(_pool(group), {}))


def _pool(group: Group) -> Pool:
    return Pool.INTRINSIC if group is Group.INTRINSIC else Pool.EDITED


def _key(question: AskedQuestion) -> Question:
    return question.fact, str(question.kind), question.prompt


def _baseline(folder: Path) -> dict[Pool, dict[Question, float]]:
    """What a run answered right after its edit: the success of each question by ``exact``, by pool."""
    records = folder / FOLDER
    found: dict[Pool, dict[Question, float]] = {}
    for pool, probes in read_probes(records).items():
        steps = [step for step in probes if step >= 0]
        if pool is Pool.UNEDITED or not steps:
            continue
        rows, facts = probes[min(steps)], read_names(records, [pool])[pool].fact
        values = success(rows, Rule.EXACT).tolist()
        columns = zip(rows.request.tolist(), rows.kind.tolist(), rows.prompt.tolist(), values, strict=True)
        found[pool] = {(facts[who], str(KINDS[kind]), prompt): value for who, kind, prompt, value in columns}
    if not found:
        raise ConfigError(f"baseline {folder} was not probed after an edit. Name the folder of a run that was.")
    return found
