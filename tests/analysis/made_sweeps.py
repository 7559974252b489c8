"""Folders of sweeps that a test writes for itself, without training."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch

from edit_lit.facts.request import EditRequest
from edit_lit.measures.curve import BEFORE_EDIT
from edit_lit.measures.outcome_files import FOLDER, write_probe
from edit_lit.measures.outcomes import KINDS, Kind, Outcomes, Pool
from edit_lit.reports.run_record import RunRecord, Segment, State
from edit_lit.sweeps.folder import TRIALS
from edit_lit.utilities.run_files import CONFIG

STEPS = (0, 10, 20, 40)


def requests(count: int, first: int = 0) -> list[EditRequest]:
    """Facts with numbers from ``first`` on."""
    return [EditRequest(f"city {n}", "{} lies in the", "west", "east", id=str(n)) for n in range(first, first + count)]


@dataclass
class Answers:
    """What a made-up model answers: efficacy falls from 1 with a rate, facts of a pool with another one."""

    loss_rate: float = 0.1
    intrinsic_rate: float = 0.02
    final_loss: float = 1.0
    prompts: Mapping[Kind, int] | None = None

    def outcomes(self, right_F: np.ndarray, rng: np.random.Generator, pool: Pool = Pool.EDITED) -> Outcomes:
        """Answers to all questions that a pool asks about facts that are right or wrong."""
        prompts = self.prompts or {Kind.REWRITE: 1, Kind.PARAPHRASE: 2}
        if pool is not Pool.EDITED:
            prompts = {kind: prompts[kind] for kind in (Kind.REWRITE, Kind.PARAPHRASE)}
        code = np.concatenate([[KINDS.index(kind)] * count for kind, count in prompts.items()])
        number = np.concatenate([np.arange(count) for count in prompts.values()])
        size = len(right_F) * len(code)
        request = np.repeat(np.arange(len(right_F)), len(code))
        answer = np.repeat(right_F.astype(float), len(code))
        alternative = (1 - answer) * (rng.random(size) < 0.5)
        exact = torch.tensor(np.stack([answer, alternative], axis=1))
        return Outcomes(
            torch.tensor(request),
            torch.tensor(np.tile(code, len(right_F))),
            torch.tensor(np.tile(number, len(right_F))),
            nll=2.0 - exact + torch.tensor(0.1 * rng.random((size, 2))),
            exact=exact,
            token=exact.clone(),
            first=exact.clone(),
        )


def write_run(
    folder: Path,
    answers: Answers,
    seed: int,
    facts: Sequence[EditRequest],
    intrinsic: Sequence[EditRequest],
    state: State = State.FINISHED,
    pool: Pool = Pool.EDITED,
    steps: Sequence[int] = STEPS,
) -> Path:
    """Write a run's folder: facts get lost at random, a share of those left at each step."""
    rng = np.random.default_rng(seed)
    known = pool is not Pool.EDITED
    right = {pool: np.ones(len(facts), bool), Pool.INTRINSIC: np.ones(len(intrinsic), bool)}
    asked = {pool: facts, Pool.INTRINSIC: intrinsic}
    for step in (BEFORE_EDIT, *steps):
        if step > 0:
            right[pool] &= rng.random(len(facts)) > answers.loss_rate
            right[Pool.INTRINSIC] &= rng.random(len(intrinsic)) > answers.intrinsic_rate
        before = step == BEFORE_EDIT and not known
        shown = {**right, pool: np.zeros(len(facts), bool) if before else right[pool]}
        write_probe(folder / FOLDER, step, {p: answers.outcomes(of, rng, p) for p, of in shown.items()}, asked)
    with (folder / "metrics.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["downstream/val_loss", "downstream/val_accuracy", "step"])
        for step in steps:
            loss = answers.final_loss + 2.0 * 0.9**step + 0.01 * rng.random()
            table.writerow([loss, 1 / (1 + loss), step])
    segment = Segment(
        "2025-01-01T00:00:00+00:00", step=steps[-1], steps_planned=steps[-1], state=state,
        ended="2025-01-01T00:01:30+00:00",
    )  # fmt: skip
    RunRecord([segment]).write(folder)
    (folder / CONFIG).write_text("name: made up\n")
    return folder


def write_sweep(
    folder: Path,
    axes: Mapping[str, Sequence[str]],
    replicates: Sequence[str],
    answers: Callable[[Mapping[str, str]], Answers | None],
    facts: int = 12,
    **options: object,
) -> Path:
    """Write a sweep over the product of its axes.

    Args:
        folder: Where it goes.
        axes: Labels by axis.
        replicates: The axes that are repetitions; facts and chance follow them.
        answers: What the model of a trial answers, by its labels; none for a trial that was never started.
        facts: How many facts each run edits.
        options: As for :func:`write_run`.
    """
    trials = []
    for number, chosen in enumerate(product(*axes.values())):
        labels = dict(zip(axes, chosen, strict=True))
        address = f"{number:08x}"
        trials.append({"address": address, "labels": labels, "folder": f"trials/{address}", "options": []})
        of_trial = answers(labels)
        if of_trial is not None:
            draw = [axes[axis].index(labels[axis]) for axis in replicates]
            place = sum(index * 100**power for power, index in enumerate(draw))
            pool = Pool.UNEDITED if labels.get("editor") == "none" else Pool.EDITED
            write_run(
                folder / "trials" / address / "version_0",
                of_trial,
                seed=1000 * number + place,
                facts=requests(facts, 1000 * place),
                intrinsic=requests(facts, 1000 * place + 500),
                **{"pool": pool, **options},
            )
    content = {"name": folder.name, "axes": axes, "replicates": list(replicates), "trials": trials}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TRIALS).write_text(json.dumps(content))
    return folder
