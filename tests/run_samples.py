"""Folders of runs that a test writes for itself, answer by answer."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from edit_lit.facts.request import EditRequest, fact_hash
from edit_lit.measures.curve import BEFORE_EDIT
from edit_lit.measures.outcome_files import FOLDER, write_probe
from edit_lit.measures.outcomes import Kind, Outcomes, Pool
from edit_lit.measures.question_files import FILE as QUESTIONS
from edit_lit.measures.question_files import AskedQuestion, write_questions
from edit_lit.reports.run import Run
from edit_lit.reports.run_record import RunRecord, Segment, State

SEEDS = {"seed_everything": 0, "data.seed": 0, "data.edits.seed": 4, "data.intrinsic.seed": 101}
BROKEN = math.nan


def request(number: int, subject: str | None = None, **options: str) -> EditRequest:
    """A fact."""
    return EditRequest(
        subject or f"city {number}", "{} lies in the", **{"target_new": "west", "target_true": "east", **options}
    )


def outcomes(right: Sequence[float], reverted: Sequence[int] = ()) -> Outcomes:
    """One answer a fact: 1 is right, 0 wrong, BROKEN no number; some answer the alternative instead."""
    answer = torch.tensor([float(value) for value in right], dtype=torch.float64)
    alternative = torch.zeros_like(answer)
    alternative[list(reverted)] = 1
    exact = torch.stack([answer, alternative.masked_fill(answer.isnan(), BROKEN)], dim=1)
    number = torch.arange(len(right))
    return Outcomes(number, number * 0, number * 0, nll=1.5 - exact, exact=exact, token=exact, first=exact)


def write(
    folder: Path,
    edited: Mapping[int, Outcomes | Sequence[float]],
    pool: Pool = Pool.EDITED,
    downstream: Sequence[tuple[int, float]] = (),
    segment: Segment | None = None,
    facts: Sequence[EditRequest] = (),
    texts: bool = False,
) -> Path:
    """Write a run: answers by step, -1 for the unedited model; the downstream accuracy; its record; its questions."""
    for step, right in edited.items():
        rows = right if isinstance(right, Outcomes) else outcomes(right)
        write_probe(folder / FOLDER, step, {pool: rows}, {pool: facts or [request(n) for n in range(len(rows))]})
    if texts:
        made = facts or [request(n) for n in range(len(rows))]
        write_questions(folder / QUESTIONS, {pool: [asked(n, fact, pool) for n, fact in enumerate(made)]})
    if downstream:
        with (folder / "metrics.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["downstream/val_accuracy", "step"])
            table.writerows([value, step] for step, value in downstream)
    if segment is not None:
        RunRecord([segment]).write(folder)
    return folder


def asked(number: int, fact: EditRequest, pool: Pool = Pool.EDITED) -> AskedQuestion:
    """The prompt of a fact as a probe asks it."""
    targets = (fact.target_new, fact.target_true) if pool is Pool.EDITED else (fact.target_true, fact.target_new)
    sizes = (len(fact.subject.split()), 1, 1)
    name = (number, fact_hash(fact), fact.id, fact.subject, fact.relation)
    return AskedQuestion(*name, Kind.REWRITE, 0, fact.question, *targets, *sizes)


def ended(state: State, step: int, planned: int | None = 400, **changes: object) -> Segment:
    """How a run ended."""
    segment = Segment("2025-01-01T00:00:00+00:00", seeds=SEEDS, step=step, steps_planned=planned, state=state)
    return replace(segment, **changes)


def run(folder: Path, **options: object) -> Run:
    """A run of four edited facts that loses one; options as for :func:`write`."""
    curve = {BEFORE_EDIT: [0, 0, 0, 0], 0: [1, 1, 1, 1], 25: [1, 1, 1, 0]}
    return Run.read(write(folder, **{"edited": curve, **options}))
