"""A sweep's results by arm and replicate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from edit_lit.analysis.bootstrap import Estimate, estimate, share_of_runs
from edit_lit.analysis.quantities import ACCURACY, LOSS, RETENTION, STOPPED, TRAINED, Quantity
from edit_lit.analysis.samples import Sample
from edit_lit.analysis.sweep import Labels, Sweep
from edit_lit.analysis.trial_result import TrialResult
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import Rule
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.text import shown


@dataclass(frozen=True)
class Study:
    """What the trials of a sweep came to, and how they are read.

    Args:
        sweep: The sweep.
        results: What each trial came to.
        rule: The success rule of its numbers.

    Raises:
        ConfigError: If no trial is finished, or the rule judges none of them.
    """

    sweep: Sweep
    results: Sequence[TrialResult]
    rule: Rule

    def __post_init__(self) -> None:
        if not self.finished:
            states = ", ".join(f"{count} {state}" for state, count in Counter(r.state for r in self.results).items())
            raise ConfigError(
                f"none of the {self.sweep.unit} of the sweep in {self.sweep.folder} is finished ({states}). Run the "
                "sweep to its end."
            )
        if not any(result.samples.keys() - _WITHOUT_RULE for result in self.finished):
            raise ConfigError(
                f"--rule {self.rule}: no fact of the finished trials can be judged by it, or none was right after the "
                "edit: prob needs a target_true. Choose another rule."
            )

    @cached_property
    def finished(self) -> list[TrialResult]:
        """The trials whose numbers count."""
        return [result for result in self.results if result.finished]

    @cached_property
    def arms(self) -> list[Labels]:
        """The arms with a finished trial, in the sweep's order."""
        return [arm for arm in self.sweep.arms if arm in self.cells]

    @cached_property
    def cells(self) -> Mapping[Labels, Mapping[Labels, TrialResult]]:
        """Finished trials by arm and replicate."""
        cells: dict[Labels, dict[Labels, TrialResult]] = {}
        for result in self.finished:
            of_arm = cells.setdefault(self.sweep.arm_of(result.trial), {})
            of_arm[self.sweep.replicate_of(result.trial)] = result
        return cells

    @cached_property
    def horizon(self) -> int | None:
        """The step up to which survival counts: the earliest last probe of all finished trials.

        There is none of cycles that end at different steps: they were stopped there, at a score.
        """
        ends = [curve.last_step for result in self.finished for curve in result.curves.values()]
        if self.sweep.unit == "cycles" and len(set(ends)) > 1:
            return None
        starts = [int(curve.steps[0]) for result in self.finished for curve in result.curves.values()]
        return min(ends) if ends and min(ends) > max(starts) else None

    def reference(self, given: str | None) -> Labels:
        """The arm that others are compared with: the given one, or the first that has a finished trial.

        Raises:
            ConfigError: If the given arm does not exist, or has no finished trial.
        """
        if given is None:
            return self.arms[0]
        arm = self.sweep.find_arm(given)
        if arm not in self.cells:
            raise ConfigError(
                f"--against {shown(given)}: none of its trials is finished. Run them, or name another arm."
            )
        return arm

    def samples(self, arm: Labels, quantity: Quantity) -> dict[Labels, Sample]:
        """A quantity's numbers of an arm by replicate, of the trials that have it."""
        found = {place: result.sample(quantity.name, self.horizon) for place, result in self.cells[arm].items()}
        return {place: sample for place, sample in found.items() if sample is not None}

    def estimate(self, arm: Labels, quantity: Quantity) -> Estimate:
        """A quantity's mean over the runs of an arm."""
        samples = list(self.samples(arm, quantity).values())
        values = [sample.values for sample in samples]
        if all(sample.is_yes_or_no for sample in samples):
            return share_of_runs(values)
        return estimate(values)

    def present(self, quantities: Sequence[Quantity]) -> list[Quantity]:
        """Those quantities that any finished trial has."""
        return [
            quantity
            for quantity in quantities
            if any(result.sample(quantity.name, self.horizon) is not None for result in self.finished)
        ]

    def _shares_facts(self, arm: Labels) -> bool:
        """Whether most facts of an arm's first run are in its second, so that facts are not drawn with the run."""
        asked = [set(sample.facts or ()) for sample in self.samples(arm, RETENTION).values()]
        return len(asked) > 1 and 2 * len(asked[0] & asked[1]) > len(asked[0])

    def is_control(self, arm: Labels) -> bool:
        """Whether an arm edits nothing, and was asked for what the model knew of the others' facts."""
        return any(result.pool is Pool.UNEDITED for result in self.cells[arm].values())

    def arm_title(self, arm: Labels) -> str:
        """An arm's name in tables, with a mark if it edits nothing."""
        return self.sweep.arm_name(arm) + (" (control)" if self.is_control(arm) else "")

    def runs_text(self, arm: Labels) -> str:
        """How many trials of an arm count, and what became of the others, such as ``5 of 8 (3 diverged)``."""
        of_arm = [result for result in self.results if self.sweep.arm_of(result.trial) == arm]
        others = Counter(result.state for result in of_arm if not result.finished)
        finished = len(of_arm) - others.total()
        if not others:
            return str(finished)
        return f"{finished} of {len(of_arm)} ({', '.join(f'{count} {state}' for state, count in others.items())})"

    def notes(self) -> Iterator[str]:
        """What a reader must know of the sweep before its numbers."""
        unit = self.sweep.unit
        yield f"{len(self.finished)} of {len(self.results)} {unit} are finished, and these alone are in means"
        for state, count in Counter(result.state for result in self.results if not result.finished).items():
            yield f"{count} of {len(self.results)} {unit}: {state}"
        if any(map(self.is_control, self.arms)):
            yield "a control edits nothing: its retention is of what the model knew of the facts that others edit"
        if self.horizon is not None:
            yield f"survival counts up to step {self.horizon}, the earliest last probe of all finished {unit}"
        ends = {result.last_step for result in self.finished if result.last_step is not None}
        if len(ends) > 1:
            yield f"runs end at different steps, {min(ends)} to {max(ends)}: retention at the end is of these"
        stops = [sample.mean for result in self.finished if (sample := result.sample(STOPPED.name)) is not None]
        if not all(stops):
            yield f"{stops.count(0.0)} of {len(stops)} never came to the score to stop at, and count as they ended"
        early = [result for result in self.finished if result.validated_at not in (None, result.last_step)]
        if early:
            yield f"{len(early)} of {len(self.finished)} finished {unit} were validated last before their last probe"
        if any(map(self._shares_facts, self.arms)):
            yield "runs of an arm share their facts: intervals are over trainings, and hold for these facts alone"
        if unit == "cycles":
            yield "cycles share their intrinsic facts: these intervals are over edits and trainings alone"
        if len(self.sweep.replicates) > 1:
            yield (
                f"runs that share a label of one of {', '.join(self.sweep.replicates)} are taken as independent, so "
                "that intervals may be too narrow"
            )
        if not self.sweep.replicates:
            yield "the sweep names no replicates, so that every arm is a single run and nothing is called different"


_WITHOUT_RULE = {quantity.name for quantity in (LOSS, ACCURACY, TRAINED, STOPPED)}
