"""What ``detect`` finds below a fine-tuning, in finished runs of the embedded model, edited ones and others.

Run in ``configs/``: ``python -m detection.below_tuning RUN …`` with the folders of the runs. Those without an edit
(``edit.apply`` at false) are what the others stand beside, and each of them beside the rest.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edit_lit.analysis.bootstrap import estimate
from edit_lit.cli.after_training import merge_adapter
from edit_lit.cli.finished_run import FinishedRun
from edit_lit.detection.flags import Judged, judge
from edit_lit.detection.matrices import Difference, difference, spectra
from edit_lit.detection.prompts import Behavior, PromptRows, read_behavior
from edit_lit.detection.spectra import Spectrum
from edit_lit.detection.weights import WeightsFinding, find, find_difference
from edit_lit.facts.request import EditRequest, fact_hash, subjects_of
from edit_lit.language_model import LanguageModel
from edit_lit.reports.table import Row, markdown_table
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.progress import progress
from edit_lit.world import World, WorldModel

ALARM_RATE = 0.05
BATCH_TOKENS = 8192
REFERENCE = World(seed=101)
QUESTIONED = "the run's facts"
SAME_SUBJECT = "others about their subjects"
HELD_OUT = "unedited, held out"

Flags = Mapping[str, Judged]


@dataclass(frozen=True)
class Looked:
    """One run, looked at.

    Args:
        arm: What it has in common with others: its editor, tuning and guards.
        edited: Whether it was edited.
        spectra: Of its fine-tuned matrices.
        change: What differs from the release.
        flags: Which facts look edited.
        tells: Whether the model answers each of the run's facts with the new object.
    """

    arm: str
    edited: bool
    spectra: Sequence[Spectrum]
    change: Difference
    flags: Flags
    tells: Sequence[bool]


def below_tuning(folders: Sequence[str]) -> str:
    """The tables, as Markdown.

    Args:
        folders: The runs, on the embedded model.

    Raises:
        ConfigError: If one cannot be used, or there are fewer than two runs without an edit.
    """
    release = WorldModel()
    runs = {folder: _look_into(folder, release) for folder in progress(folders, "runs", "runs")}
    unedited = {folder: run for folder, run in runs.items() if not run.edited}
    if len(unedited) < 2:
        raise ConfigError(f"{len(unedited)} of the runs have no edit. Name two or more with edit.apply at false.")
    weights, answers = weights_rows(runs, unedited), answers_rows(list(runs.values()))
    return f"{markdown_table(WEIGHTS, weights)}\n{markdown_table(ANSWERS, answers)}"


def _look_into(folder: str, release: LanguageModel) -> Looked:
    return look(FinishedRun.load(Path(folder), "cpu", control=True), release)


def look(finished: FinishedRun, release: LanguageModel) -> Looked:
    """Look at a run's weights and answers."""
    model, options = finished.language_model, finished.options
    edited = finished.states.delta is not None
    guards = [guard.class_path.rsplit(".", 1)[-1] for guard in options.guards.use or ()]
    editor = type(finished.editor).__name__ if edited else "no edit"
    arm = ", ".join([editor, type(finished.fine_tuner.tuning).__name__, *guards])
    merge_adapter(model)
    found, tells = flags(model, finished.requests)
    change = difference(model, release, "differences")
    return Looked(arm, edited, spectra(model, "matrices"), change, found, tells)


def flags(model: LanguageModel, requests: Sequence[EditRequest]) -> tuple[Flags, list[bool]]:
    """Which facts look edited to a model, of three kinds; and which of the first it answers with the new object."""
    subjects, own = subjects_of(requests), {fact_hash(request) for request in requests}
    others = [one for one in World().load() if one.subject in subjects and fact_hash(one) not in own]
    reference = REFERENCE.load(exclude_subjects=subjects)
    asked = {name: (group, _behavior(model, group)) for name, group in ((QUESTIONED, requests), (SAME_SUBJECT, others))}
    base = reference, _behavior(model, reference)
    found = {name: judge(base, group, None, ALARM_RATE, seed=0) for name, group in asked.items()}
    judged = {name: one.questioned for name, one in found.items() if one.questioned is not None}
    says = judged[QUESTIONED].behavior.says
    tells = [said == request.target_new for said, request in zip(says, requests, strict=True)]
    return {**judged, HELD_OUT: found[QUESTIONED].held_out}, tells


def _behavior(model: LanguageModel, requests: Sequence[EditRequest]) -> Behavior:
    return read_behavior(model, PromptRows.of(model, requests), BATCH_TOKENS, "prompts")


WEIGHTS: Row = ("run", "weights: layer, times the median", "p", "with the release: layer, times the median", "p")


def weights_rows(runs: Mapping[str, Looked], unedited: Mapping[str, Looked]) -> list[Row]:
    """Each run beside all unedited ones but itself."""
    rows: list[Row] = []
    for folder, run in sorted(runs.items(), key=lambda item: item[1].arm):
        beside = {name: one for name, one in unedited.items() if name != folder}
        alone = find(run.spectra, {name: one.spectra for name, one in beside.items()}, ALARM_RATE)
        changed = find_difference(run.change, {name: one.change for name, one in beside.items()}, ALARM_RATE)
        rows.append((run.arm, *_cells(alone), *_cells(changed)))
    return rows


def _cells(found: WeightsFinding) -> tuple[str, str]:
    assert found.calibration is not None
    return f"{found.most}, {found.factors[found.most]:.3f}", f"{found.calibration.p:.3f}"


ANSWERS: Row = ("arm", "facts", "look edited, %", "counts of the runs")


def answers_rows(runs: Sequence[Looked]) -> list[Row]:
    """How many facts look edited: means over an arm's runs with 95 % intervals over runs and facts."""
    arms: defaultdict[str, list[Looked]] = defaultdict(list)
    for run in runs:
        arms[run.arm].append(run)
    rows: list[Row] = []
    for arm, some in sorted(arms.items()):
        for group in (QUESTIONED, SAME_SUBJECT, HELD_OUT):
            found = [run.flags[group].flagged for run in some]
            rows.append((arm, group, _mean(found), _counts(found)))
        for told, name in ((True, "the new object is told"), (False, "it is not")):
            kept = [
                [flag for flag, tells in zip(run.flags[QUESTIONED].flagged, run.tells, strict=True) if tells is told]
                for run in some
            ]
            if all(kept):
                rows.append((arm, f"{QUESTIONED}: {name}", _mean(kept), _counts(kept)))
    return rows


def _mean(runs: Sequence[Sequence[bool]]) -> str:
    found = estimate([np.array(run, dtype=float) for run in runs])
    interval = f" [{100 * found.low:.1f}, {100 * found.high:.1f}]" if found.has_interval else ""
    return f"{100 * found.mean:.1f}{interval}"


def _counts(runs: Sequence[Sequence[bool]]) -> str:
    return ", ".join(f"{sum(run)}/{len(run)}" for run in runs)


if __name__ == "__main__":
    print(below_tuning(sys.argv[1:]))
