"""Edited and fine-tuned tiny models in which the cause of the losses is known, since nothing else was trained."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import tiny
import torch
from transformers.pytorch_utils import Conv1D

from edit_lit.attribution.attribute import Recorded
from edit_lit.attribution.losses import find_losses
from edit_lit.deltas import Delta, ModelStates
from edit_lit.editors import FTM, TargetTraining
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.scoring import ScoredRow, mean_nll
from edit_lit.language_model.spans import answer_rows
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import Rule
from edit_lit.tuning.tuning import Tuning

MODELS = {"llama": tiny.llama, "gpt2": tiny.gpt2}


@dataclass
class Case:
    """A model, its states, and what its probes found."""

    language_model: LanguageModel
    delta: Delta
    states: ModelStates
    requests: list[EditRequest]
    probe: Probe
    before: object
    baseline: object

    def recorded(self, rule: Rule = Rule.EXACT) -> Recorded:
        now = self.probe.run(self.language_model)
        return Recorded(7, self.baseline, now, find_losses(self.before, self.baseline, now, rule))


def edited(
    make: Callable[[], LanguageModel],
    layers: list[int],
    tuning: Tuning,
    count: int = 4,
    given: Sequence[EditRequest] | None = None,
) -> Case:
    """An edited model in which the tuning has chosen what trains."""
    language_model = make()
    given = tiny.requests(count) if given is None else given
    probe = Probe(given, language_model.tokenizer)
    before = probe.run(language_model)
    wrong = [n for n, right in enumerate(before.exact[before.kind == 0][:, 0].tolist()) if not right]
    requests = [given[number] for number in wrong]
    probe = Probe(requests, language_model.tokenizer)
    before = probe.run(language_model)
    delta = copy.deepcopy(_edit(make, tuple(layers), tuple(requests)))
    delta.apply(language_model)
    copy.deepcopy(tuning).apply(language_model, delta.layers)
    return Case(
        language_model, delta, ModelStates(language_model, delta), requests, probe, before, probe.run(language_model)
    )


@cache
def _edit(make: Callable[[], LanguageModel], layers: tuple[int, ...], requests: tuple[EditRequest, ...]) -> Delta:
    return FTM([*layers], TargetTraining(lr=0.05, epochs=20)).edit(make(), requests)


def undo(case: Case, steps: int = 12, lr: float = 0.1) -> Case:
    """Train whatever trains on the old objects."""
    pairs = [(request.question, request.target_true) for request in case.requests]
    rows = [ScoredRow.teacher_forced(row.ids, row.answer) for row in answer_rows(case.language_model.tokenizer, pairs)]
    parameters = [parameter for parameter in case.language_model.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        mean_nll(case.language_model, rows).mean().backward()
        optimizer.step()
    for parameter in parameters:
        parameter.grad = None
    return case


def without_alternatives(case: Case) -> Case:
    """The same, of facts whose old object nobody knows."""
    requests = [replace(request, target_true=None, neighborhood=()) for request in case.requests]
    probe = Probe(requests, case.language_model.tokenizer)
    with case.states.edited():
        baseline = probe.run(case.language_model)
    with case.states.unedited():
        before = probe.run(case.language_model)
    return replace(case, requests=requests, probe=probe, baseline=baseline, before=before)


def turned_keys(case: Case, layer: int) -> None:
    """Turn a GPT-2's keys of a layer by a random orthogonal matrix, and undo that in the matrix that reads them."""
    mlp = case.language_model.blocks[layer].mlp
    assert isinstance(mlp.c_proj, Conv1D)
    size = mlp.c_proj.weight.shape[0]
    turn, _ = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64))
    with torch.no_grad():
        mlp.c_fc.weight.copy_(mlp.c_fc.weight @ turn)
        mlp.c_fc.bias.copy_(mlp.c_fc.bias @ turn)
        mlp.c_proj.weight.copy_(turn.T @ mlp.c_proj.weight)
