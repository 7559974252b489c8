"""A sweep's folder: ``trials.json``, and the arms and replicates that its trials make up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from edit_lit.sweeps.folder import TRIALS, SweepFolder, TrialList
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.run_files import newest_run
from edit_lit.utilities.text import shown

Labels = tuple[tuple[str, str], ...]
"""Labels by axis, as pairs in the order of the sweep's axes, so that they can be compared and be keys."""


@dataclass(frozen=True)
class Trial:
    """One configuration of a sweep.

    Args:
        address: Its name by content.
        labels: Its label on each axis.
        folder: Where its runs are, of which the newest counts; of a cycle its own folder.
        is_cycle: Whether it is one cycle of a series.
    """

    address: str
    labels: Mapping[str, str]
    folder: Path
    is_cycle: bool = False

    @property
    def run(self) -> Path | None:
        """The folder of the run that counts; none if there is no run."""
        return self.folder if self.is_cycle else newest_run(self.folder)


@dataclass(frozen=True)
class Sweep:
    """A sweep as its folder describes it.

    Args:
        folder: The folder.
        name: The sweep's name.
        axes: The labels of each axis, in order.
        replicates: The axes that are repetitions, such as seeds.
        trials: Its trials.
        unit: What its trials are called: ``trials``, or ``cycles`` where each is one of a series.
    """

    folder: Path
    name: str
    axes: Mapping[str, Sequence[str]]
    replicates: Sequence[str]
    trials: Sequence[Trial]
    unit: str = "trials"

    @classmethod
    def read(cls, folder: Path) -> Sweep:
        """Read a sweep's folder.

        Raises:
            ConfigError: If it holds no ``trials.json``, or a damaged one.
        """
        place = SweepFolder(folder)
        listed = TrialList.read(place)
        if listed is None:
            raise ConfigError(f"{folder} holds no {TRIALS}, so it is no sweep. Name the folder of one.")
        try:
            axes = {axis: tuple(labels) for axis, labels in listed.axes.items()}
            trials = [Trial(item.address, dict(item.labels), place.trial(item.address)) for item in listed.trials]
            sweep = cls(folder, listed.name, axes, tuple(listed.replicates), trials)
            flaw = sweep._flaw()
        except (TypeError, ValueError, AttributeError) as error:
            flaw = f"{type(error).__name__}: {error}"
        if flaw:
            raise ConfigError(f"{folder / TRIALS} is damaged ({flaw}). Run the sweep again, which writes it anew.")
        return sweep

    def _flaw(self) -> str:
        if not self.trials:
            return "it lists no trial"
        unknown = [axis for axis in self.replicates if axis not in self.axes]
        if unknown:
            return f"{shown(unknown[0])} is among its replicates, but no axis"
        for trial in self.trials:
            for axis, labels in self.axes.items():
                if trial.labels.get(axis) not in labels:
                    return f"trial {trial.address} has no label of the axis {shown(axis)}"
        for what, found in (
            ("addresses", [trial.address for trial in self.trials]),
            ("labels", [tuple(trial.labels[axis] for axis in self.axes) for trial in self.trials]),
        ):
            if len(set(found)) < len(found):
                return f"two trials have the same {what}"
        return ""

    @cached_property
    def arm_axes(self) -> list[str]:
        """The axes that are no repetitions."""
        return [axis for axis in self.axes if axis not in self.replicates]

    @cached_property
    def varied(self) -> list[str]:
        """The axes, repetitions apart, on which trials have more than one label."""
        return [axis for axis in self.arm_axes if len({trial.labels[axis] for trial in self.trials}) > 1]

    @cached_property
    def arms(self) -> list[Labels]:
        """What the trials are equal in, repetitions apart, in the order in which they first appear."""
        return list(dict.fromkeys(self.arm_of(trial) for trial in self.trials))

    def arm_of(self, trial: Trial) -> Labels:
        """A trial's labels on all axes that are no repetitions."""
        return tuple((axis, trial.labels[axis]) for axis in self.arm_axes)

    def replicate_of(self, trial: Trial) -> Labels:
        """A trial's labels on the axes that are repetitions."""
        return tuple((axis, trial.labels[axis]) for axis in self.replicates)

    def arm_name(self, arm: Labels) -> str:
        """What tells an arm from the others, such as ``editor=memit, lr=5e-05``; of a single axis the label alone."""
        told = [(axis, label) for axis, label in arm if axis in self.varied]
        if len(told) == 1:
            return told[0][1]
        return ", ".join(f"{axis}={label}" for axis, label in told) or "all trials"

    def find_arm(self, given: str) -> Labels:
        """The arm that is meant by its name, by labels such as ``editor=memit, lr=5e-05``, or by a label of its own.

        Raises:
            ConfigError: If there is none, or several.
        """
        named = [arm for arm in self.arms if self.arm_name(arm) == given.strip()]
        parts = [part.strip() for part in given.split(",") if part.strip()]
        found = named or [arm for arm in self.arms if parts and all(_has(arm, part) for part in parts)]
        if len(found) == 1:
            return found[0]
        names = [self.arm_name(arm) for arm in found or self.arms]
        listed = "; ".join(names[:8]) + ("; …" if len(names) > 8 else "")
        problem = f"could be {len(found)} arms" if found else "is no arm of the sweep"
        raise ConfigError(f"--against {shown(given)} {problem}. Name one of: {listed}")

    def check_axis(self, option: str, axis: str) -> None:
        """Refuse what is no axis on which arms differ.

        Raises:
            ConfigError: Naming the option, its value, and the axes that there are.
        """
        if axis not in self.varied:
            listed = ", ".join(self.varied) or "none"
            raise ConfigError(f"{option} {shown(axis)} is no axis on which arms differ. These are: {listed}")


def _has(arm: Labels, part: str) -> bool:
    return any(part in (label, f"{axis}={label}") for axis, label in arm)
