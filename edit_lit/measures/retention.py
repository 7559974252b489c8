"""Retention: asking about facts before the edit, after it and through any training loop."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edit_lit.facts.request import EditRequest, requests_hash
from edit_lit.language_model import LanguageModel
from edit_lit.measures.answers import Answers, AnswersAt, ask
from edit_lit.measures.curve import BEFORE_EDIT, Point, curve_point
from edit_lit.measures.outcome_files import FOLDER
from edit_lit.measures.outcomes import Outcomes, Pool, check_unedited
from edit_lit.measures.probe import Probe
from edit_lit.measures.run_records import RunRecords
from edit_lit.utilities import distributed
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProbeSteps:
    """The optimizer steps at which facts are asked.

    Args:
        every_n_steps: Steps between probes.
        early: Steps 1, 2, 4, 8, … as well, below ``every_n_steps``: decay is fastest at first.

    Raises:
        ConfigError: If ``every_n_steps`` is below 1.
    """

    every_n_steps: int = 50
    early: bool = False

    def __post_init__(self) -> None:
        if self.every_n_steps < 1:
            raise ConfigError(f"retention.every_n_steps is {self.every_n_steps}; it must be at least 1.")

    def __contains__(self, step: int) -> bool:
        power_of_two = step > 0 and step & (step - 1) == 0
        return step % self.every_n_steps == 0 or (self.early and power_of_two and step < self.every_n_steps)


class Retention:
    """Asks about facts through a training run, and keeps what became of them.

    It knows no training loop, so that it works in any::

        retention = Retention(language_model, edited=requests, intrinsic=known_facts, folder="runs/mine")
        retention.before_edit()
        delta.apply(language_model)
        retention.probe(0)  # the baseline
        for step, batch in enumerate(batches, start=1):
            ...  # one optimizer step
            if retention.is_due(step, last=step == len(batches)):
                point = retention.probe(step)  # {"retention/edited/exact": 0.96, ...}

    The first probe is the baseline against which all others are measured. Where the unedited model was asked, retention
    is that of the facts which the edit made right; else it is that of all that were right at the baseline. With several
    processes all of them make the same calls: they share the questions, get the same points, and the first one writes
    the records.

    Args:
        language_model: The model that is edited and trained.
        edited: The facts that are edited.
        intrinsic: Facts that the model knows and nobody edits, as the control for ordinary forgetting.
        unedited: In a run that edits nothing, the facts that other runs edit.
        folder: The run's folder, in which raw outcomes are written to ``retention.parquet``; no files if not given.
            Each run needs its own: records of another run are never written over.
        every_n_steps: Optimizer steps between probes.
        early: Probe at steps 1, 2, 4, 8, … as well, below ``every_n_steps``.
        batch_tokens: Tokens in a probe's batch, padding included.
        answers: At which probes the model also writes what it answers to the facts under study, in words.
        answer_tokens: Most tokens of such an answer; one that is cut off is marked in the records.

    Attributes:
        before: Outcomes of the unedited model, by pool; empty if it was not asked.
        baseline: Outcomes of the first probe, by pool.
        points: The curve so far: the scores of each probe by step, each score under its tag.
        last_step: The step of the last probe; -1 before the first.

    Raises:
        ConfigError: If ``every_n_steps`` or ``answer_tokens`` is below 1, or a fact cannot be asked about in its pool.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        *,
        edited: Sequence[EditRequest] = (),
        intrinsic: Sequence[EditRequest] = (),
        unedited: Sequence[EditRequest] = (),
        folder: str | Path | None = None,
        every_n_steps: int = 50,
        early: bool = False,
        batch_tokens: int = 8192,
        answers: AnswersAt = AnswersAt.LAST,
        answer_tokens: int = 10,
    ) -> None:
        check_number("retention.answer_tokens", answer_tokens, least=1)
        self.language_model = language_model
        self._answers_at, self._answer_tokens, self._batch_tokens = answers, answer_tokens, batch_tokens
        self.steps = ProbeSteps(every_n_steps, early)
        pools = {Pool.EDITED: edited, Pool.UNEDITED: unedited, Pool.INTRINSIC: intrinsic}
        self.probes = {
            pool: Probe(requests, language_model.tokenizer, pool, batch_tokens)
            for pool, requests in pools.items()
            if requests
        }
        asked = {pool: probe.requests for pool, probe in self.probes.items()}
        questions = {pool: probe.questions for pool, probe in self.probes.items()}
        self._records = RunRecords(Path(folder) / FOLDER if folder is not None else None, asked, questions)
        self.before: dict[Pool, Outcomes] = {}
        self.baseline: dict[Pool, Outcomes] = {}
        self.points: dict[int, Point] = {}
        self.last_step = -1
        self._carried_step, self._carried, self._in_words_at = -1, dict[Pool, Outcomes](), BEFORE_EDIT

    @property
    def records(self) -> Path | None:
        """The folder of the raw outcomes, as an absolute path; none without."""
        return self._records.folder

    @property
    def latest(self) -> Point:
        """The point of the last probe; empty before the first."""
        return self.points.get(self.last_step, {})

    def before_edit(self) -> dict[Pool, Outcomes]:
        """Ask the unedited model; call it before the edit is applied.

        The answers are recorded, unless the folder has records already, of a run that is to be resumed.

        Raises:
            ConfigError: If the model's answers are not numbers.
        """
        self.before = self._ask()
        check_unedited(*self.before.values())
        if self._records.may_write():
            self._records.write(BEFORE_EDIT, self.before)
            self._write_words(BEFORE_EDIT, self.before)
        return self.before

    def is_due(self, step: int, last: bool = False) -> bool:
        """Whether a probe is due, at most once a step.

        Args:
            step: Optimizer steps taken so far. Asking again within a step, as under gradient accumulation, is fine.
            last: Whether it is the last step, which is always probed.
        """
        return bool(self.probes) and step != self.last_step and (last or step in self.steps)

    def probe(self, step: int, last: bool = False) -> Point:
        """Ask all facts now, and record what came out.

        Args:
            step: Optimizer steps taken so far.
            last: Whether it is asked because the run ends here. If it was not due otherwise, a checkpoint leaves it
                out: a run that goes on from there gives the curve of one that never stopped.

        Returns:
            The curve's point, each score by its tag such as ``retention/edited/exact``, and ``probe/seconds``. A pool
            with answers that are not numbers has their count instead, as ``probe/edited/not_a_number``.

        Raises:
            ConfigError: If the folder holds another run's records.
        """
        started = time.perf_counter()
        outcomes = self._ask()
        seconds = time.perf_counter() - started
        self._records.write(step, outcomes)
        self._write_words(step, outcomes, last)
        if not self.baseline:
            _warn_of_late_baseline(step)
            self.baseline = outcomes
        point = curve_point(self.baseline, outcomes, self.before)
        _say_if_broken(step, outcomes, self.latest)
        self.last_step, self.points[step] = step, point
        if not last or step in self.steps:
            self._carried_step, self._carried = step, outcomes
        return point | {"probe/seconds": seconds}

    def end(self, step: int) -> None:
        """Ask for the answers in words if the run turns out to have ended with its last probe.

        Call it at the end of a training that may stop before its last step; otherwise ``last`` says it beforehand.
        """
        if step == self.last_step == self._carried_step and self._in_words_at != step:
            self._write_words(step, self._carried, last=True)

    def state_dict(self) -> dict[str, Any]:
        """The curve and what it is measured against, as primitives and tensors, for a checkpoint.

        It has all points, but raw outcomes only of the unedited model, the baseline and the last probe that was due.
        """
        kept = self._kept()
        return {
            "facts": self._facts(),
            "last_step": self._carried_step,
            "points": {step: dict(point) for step, point in self.points.items() if step <= self._carried_step},
            "outcomes": {step: {str(pool): of.tensors() for pool, of in all_.items()} for step, all_ in kept.items()},
            "records": str(self.records) if self.records is not None else "",
        }

    def load_state_dict(self, state_dict: dict[str, Any], checkpoint: str | Path | None = None) -> dict[int, Point]:
        """Continue the curve where a checkpoint left it.

        In the folder of the run that is resumed, the next probe removes the records from behind the checkpoint. In
        another folder the records up to the checkpoint are brought over. They are looked for beside the checkpoint,
        then where they were written; if they are lost, the baseline is still that of the run.

        Args:
            state_dict: What :meth:`state_dict` gave.
            checkpoint: The file that it comes from. It finds the records of a run that was moved.

        Returns:
            The earlier points by step, if they came from another folder, so that this run's loggers lack them.

        Raises:
            ConfigError: If the checkpoint's curve is of other facts than this one or of an older version, or the folder
                holds the records of another run.
        """
        self._check(state_dict)
        self.points = {step: dict(point) for step, point in state_dict["points"].items()}
        if not self.points:
            return {}
        given = state_dict["outcomes"].items()
        kept = {step: {Pool(pool): Outcomes(**tensors) for pool, tensors in of.items()} for step, of in given}
        self.last_step = state_dict["last_step"]
        self.before = kept.get(BEFORE_EDIT, self.before)
        self.baseline = kept[min(self.points)]
        self._carried_step, self._carried = self.last_step, kept[self.last_step]
        places = [parent / FOLDER for parent in Path(checkpoint).absolute().parents[:3]] if checkpoint else []
        places += [Path(state_dict["records"])] if state_dict["records"] else []
        own = self._records.take_up(kept, self.last_step, places)
        return {} if own else dict(self.points)

    def _kept(self) -> dict[int, dict[Pool, Outcomes]]:
        """The raw outcomes that a checkpoint holds, by step."""
        if not self._carried:
            return {}
        before = {BEFORE_EDIT: self.before} if self.before else {}
        return before | {min(self.points): self.baseline, self._carried_step: self._carried}

    def _check(self, state_dict: dict[str, Any]) -> None:
        if "outcomes" not in state_dict:
            raise ConfigError(
                "the checkpoint's curve was written by an earlier version of edit_lit. Resume with that version."
            )
        facts = self._facts()
        if state_dict["facts"] != facts:
            pools = ", ".join(sorted(set(facts) | set(state_dict["facts"])))
            raise ConfigError(
                f"the checkpoint's curve is of other facts than this run's (pools {pools}). "
                "Resume with the data.edits and data.intrinsic of that run."
            )

    def _facts(self) -> dict[str, str]:
        """A hash of each pool's facts."""
        return {str(pool): requests_hash(probe.requests) for pool, probe in self.probes.items()}

    def _write_words(self, step: int, outcomes: Mapping[Pool, Outcomes], last: bool = False) -> None:
        """Ask for what the model answers to the facts under study in words, where that is wanted and kept."""
        if self.records is None or not self._answers_at.due(last):
            return
        limits, words = (self._answer_tokens, self._batch_tokens), Answers()
        for pool in (one for one in outcomes if one is not Pool.INTRINSIC):
            words[pool] = ask(self.language_model, self.probes[pool].requests, outcomes[pool], *limits)
        self._records.write_words(step, words)
        self._in_words_at = step

    def _ask(self) -> dict[Pool, Outcomes]:
        return {pool: probe.run(self.language_model) for pool, probe in self.probes.items()}


def _say_if_broken(step: int, outcomes: Mapping[Pool, Outcomes], earlier: Point) -> None:
    """Say where answers stop to be numbers, once."""
    counts = {pool: int(of_pool.not_a_number().sum()) for pool, of_pool in outcomes.items()}
    said = any(f"probe/{pool}/not_a_number" in earlier for pool in Pool)
    if any(counts.values()) and not said and distributed.rank() == 0:
        listed = ", ".join(f"{count} of {len(outcomes[pool])} {pool}" for pool, count in counts.items() if count)
        log.warning("at step %d answers are not numbers (%s): they have no scores from here on", step, listed)


def _warn_of_late_baseline(step: int) -> None:
    if step > 0:
        warnings.warn(
            "there is no baseline of the edits from before the training, such as in the checkpoint of a resumed run, "
            f"so retention is measured against the state at step {step}.",
            stacklevel=3,
        )
