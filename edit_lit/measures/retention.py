"""Retention: asking about facts before the edit, after it and through any training loop."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edit_lit.facts.request import EditRequest, requests_hash
from edit_lit.language_model import LanguageModel
from edit_lit.measures.curve import BEFORE_EDIT, Point, curve_point
from edit_lit.measures.outcome_files import FOLDER, copy_probes, read_probes, write_probe
from edit_lit.measures.outcomes import Outcomes, Pool
from edit_lit.measures.probe import Probe
from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError


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

    The first probe is the baseline against which all others are measured. With several processes all of them make
    the same calls: they share the questions, get the same points, and the first one writes the records.

    Args:
        language_model: The model that is edited and trained.
        edited: The facts that are edited.
        intrinsic: Facts that the model knows and nobody edits, as the control for ordinary forgetting.
        unedited: In a run that edits nothing, the facts that other runs edit.
        folder: The run's folder, in which raw outcomes are written to ``retention.parquet``; no files if not given.
        every_n_steps: Optimizer steps between probes.
        early: Probe at steps 1, 2, 4, 8, … as well, below ``every_n_steps``.
        batch_tokens: Tokens in a probe's batch, padding included.

    Attributes:
        baseline: Outcomes of the first probe, by pool.
        points: The curve so far: the scores of each probe by step, each score under its tag.
        last_step: The step of the last probe; -1 before the first.

    Raises:
        ConfigError: If ``every_n_steps`` is below 1, or a fact cannot be asked about in its pool.
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
    ) -> None:
        self.language_model = language_model
        self.records = Path(folder) / FOLDER if folder is not None else None
        self.steps = ProbeSteps(every_n_steps, early)
        pools = {Pool.EDITED: edited, Pool.UNEDITED: unedited, Pool.INTRINSIC: intrinsic}
        self.probes = {
            pool: Probe(requests, language_model.tokenizer, pool, batch_tokens)
            for pool, requests in pools.items()
            if requests
        }
        self.baseline: dict[Pool, Outcomes] = {}
        self.points: dict[int, Point] = {}
        self.last_step = -1

    @property
    def latest(self) -> Point:
        """The point of the last probe; empty before the first."""
        return self.points.get(self.last_step, {})

    def before_edit(self) -> dict[Pool, Outcomes]:
        """Ask the unedited model, for the record; call it before the edit is applied."""
        outcomes = self._ask()
        self._record(BEFORE_EDIT, outcomes)
        return outcomes

    def is_due(self, step: int, last: bool = False) -> bool:
        """Whether a probe is due, at most once a step.

        Args:
            step: Optimizer steps taken so far. Asking again within a step, as under gradient accumulation, is fine.
            last: Whether it is the last step, which is always probed.
        """
        return bool(self.probes) and step != self.last_step and (last or step in self.steps)

    def probe(self, step: int) -> Point:
        """Ask all facts now, and record what came out.

        Args:
            step: Optimizer steps taken so far.

        Returns:
            The curve's point, each score by its tag such as ``retention/edited/exact``, and ``probe/seconds``.
        """
        started = time.perf_counter()
        outcomes = self._ask()
        seconds = time.perf_counter() - started
        if not self.baseline:
            _warn_of_late_baseline(step)
            self.baseline = outcomes
        self.last_step = step
        self._record(step, outcomes)
        self.points[step] = curve_point(self.baseline, outcomes)
        return self.points[step] | {"probe/seconds": seconds}

    def state_dict(self) -> dict[str, Any]:
        """Baseline and position of the curve, as primitives and tensors, for a checkpoint."""
        return {
            "baseline": {str(pool): outcomes.tensors() for pool, outcomes in self.baseline.items()},
            "facts": self._facts(),
            "last_step": self.last_step,
            "latest": dict(self.latest),
            "records": str(self.records) if self.records is not None else "",
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> dict[int, Point]:
        """Continue the curve where a checkpoint left it.

        The records of the earlier part are copied into this run's folder.

        Returns:
            In the first process the earlier points by step, if they came from another folder, so that this run's
            loggers lack them.

        Raises:
            ConfigError: If the checkpoint's curve is of other facts than this one.
        """
        facts = self._facts()
        if state_dict["facts"] != facts:
            pools = ", ".join(sorted(set(facts) | set(state_dict["facts"])))
            raise ConfigError(
                f"the checkpoint's curve is of other facts than this run's (pools {pools}). "
                "Resume with the data.edits and data.intrinsic of that run."
            )
        self.baseline = {Pool(pool): Outcomes(**tensors) for pool, tensors in state_dict["baseline"].items()}
        self.last_step = state_dict["last_step"]
        source = Path(state_dict["records"]) if state_dict["records"] and self.baseline else None
        # One process looks, so that all agree even where they see different disks.
        earlier = self._taken_over(source) if source is not None and distributed.rank() == 0 else {}
        self.points = dict(distributed.from_first_process(earlier))
        if self.baseline:
            self.points.setdefault(self.last_step, dict(state_dict.get("latest", {})))
        return earlier if source != self.records else {}

    def _taken_over(self, source: Path) -> dict[int, Point]:
        """Bring the earlier part of the curve into this run's records, and read its points."""
        if self.records is not None and source != self.records:
            copy_probes(source, self.records, self.last_step)
        try:
            earlier = read_probes(source)
        except ConfigError:
            warnings.warn(
                f"the records of the run that is resumed are not in {source} any more; "
                "the curve starts at the resumed step.",
                stacklevel=3,
            )
            return {}
        steps = sorted({step for of_pool in earlier.values() for step in of_pool if step > BEFORE_EDIT})
        return {
            step: curve_point(self.baseline, {pool: of[step] for pool, of in earlier.items() if step in of})
            for step in steps
            if step <= self.last_step
        }

    def _facts(self) -> dict[str, str]:
        """A hash of each pool's facts."""
        return {str(pool): requests_hash(probe.requests) for pool, probe in self.probes.items()}

    def _ask(self) -> dict[Pool, Outcomes]:
        return {pool: probe.run(self.language_model) for pool, probe in self.probes.items()}

    def _record(self, step: int, outcomes: dict[Pool, Outcomes]) -> None:
        if self.records is not None and distributed.rank() == 0 and outcomes:
            write_probe(self.records, step, outcomes, {pool: probe.requests for pool, probe in self.probes.items()})


def _warn_of_late_baseline(step: int) -> None:
    if step > 0:
        warnings.warn(
            "there is no baseline of the edits from before the training, such as in the checkpoint of a resumed run, "
            f"so retention is measured against the state at step {step}.",
            stacklevel=3,
        )
