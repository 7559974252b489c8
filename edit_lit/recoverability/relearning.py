"""Held-out relearning: training on other lost edits, and asking about those that were not shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from edit_lit.deltas.swap import swapped
from edit_lit.facts.request import EditRequest, normalized_name
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import frozen
from edit_lit.language_model.scoring import ScoredRow, mean_nll
from edit_lit.language_model.spans import answer_rows
from edit_lit.language_model.token_batch import length_batches
from edit_lit.measures.outcomes import Kind
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import Rule, success
from edit_lit.tuning.merging import of_adapters
from edit_lit.utilities.checks import check_number

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam without weight decay, at 1e-4."""
    return torch.optim.Adam(parameters, lr=1e-4)


@dataclass(frozen=True)
class Relearning:
    """How lost edits are relearnt from each other.

    Each fold's edits are held out in turn, and the others' rewrite prompts are trained on as one batch, without
    dropout. All matrices of the blocks train, whatever trained before: where the model is there is room for their
    gradients and the optimizer's state, and on the CPU for one copy of them.

    Args:
        steps: Optimizer steps; the held-out edits are asked about after 1, 2, 4, … of them and after the last.
        folds: Into how many parts the lost edits are split, at most one for each subject.
        optimizer: Made anew for each fold.

    Raises:
        ConfigError: If ``steps`` is below 1 or ``folds`` below 2.
    """

    steps: int = 16
    folds: int = 4
    optimizer: MakeOptimizer = adam

    def __post_init__(self) -> None:
        check_number("steps", self.steps, least=1)
        check_number("folds", self.folds, least=2)

    @property
    def looks(self) -> list[int]:
        """The steps after which the held-out edits are asked about."""
        return [step for step in range(1, self.steps + 1) if step & (step - 1) == 0 or step == self.steps]

    def parts(self, requests: Sequence[EditRequest]) -> list[list[int]]:
        """The folds, as positions; edits of one subject are held out together. None if there is one subject only."""
        subjects = {normalized_name(request.subject): None for request in requests}
        count = min(self.folds, len(subjects))
        if count < 2:
            return []
        fold_of = {subject: number % count for number, subject in enumerate(subjects)}
        return [
            [place for place, request in enumerate(requests) if fold_of[normalized_name(request.subject)] == fold]
            for fold in range(count)
        ]

    def first_steps(
        self,
        language_model: LanguageModel,
        requests: Sequence[EditRequest],
        rule: Rule,
        batch_tokens: int = 8192,
        watch: Callable[[], object] = lambda: None,
    ) -> Tensor:
        """After how many steps on the others each edit is right first, [F]; infinite if never.

        The model is bit for bit what it was afterwards. 0 is an edit that is right without any step.

        Args:
            language_model: The model, in whichever state.
            requests: The lost edits.
            rule: The success rule.
            batch_tokens: Tokens in a batch, padding included.
            watch: Called after each step.
        """
        first = torch.full((len(requests),), torch.inf, dtype=torch.float64)
        bare = [replace(request, paraphrases=(), neighborhood=(), portability=()) for request in requests]
        for held_out in self.parts(requests):
            shown = [request for place, request in enumerate(bare) if place not in held_out]
            probe = Probe([bare[place] for place in held_out], language_model.tokenizer, batch_tokens=batch_tokens)
            batches = _batches(language_model, shown, batch_tokens)
            with _trainable(language_model) as matrices:
                optimizer = self.optimizer(matrices)
                _note(first, held_out, 0, probe, language_model, rule)
                for step in range(1, self.steps + 1):
                    _step(language_model, optimizer, batches)
                    if step in self.looks:
                        _note(first, held_out, step, probe, language_model, rule)
                    watch()
        return first


def _batches(
    language_model: LanguageModel, requests: Sequence[EditRequest], batch_tokens: int
) -> list[list[ScoredRow]]:
    pairs = [(request.question, request.target_new) for request in requests]
    rows = [ScoredRow.teacher_forced(row.ids, row.answer) for row in answer_rows(language_model.tokenizer, pairs)]
    return [[rows[index] for index in batch] for batch in length_batches([len(row.ids) for row in rows], batch_tokens)]


def _step(language_model: LanguageModel, optimizer: torch.optim.Optimizer, batches: Sequence[list[ScoredRow]]) -> None:
    """One optimizer step on the mean over all rows."""
    optimizer.zero_grad()
    rows = sum(map(len, batches))
    for batch in batches:
        (mean_nll(language_model, batch).sum() / rows).backward()
    optimizer.step()


def _note(
    first: Tensor, held_out: Sequence[int], step: int, probe: Probe, language_model: LanguageModel, rule: Rule
) -> None:
    right = success(probe.run(language_model).of_kind(Kind.REWRITE), rule) == 1
    for place, found in zip(held_out, right.tolist(), strict=True):
        if found:
            first[place] = min(float(first[place]), step)


@contextmanager
def _trainable(language_model: LanguageModel) -> Iterator[list[nn.Parameter]]:
    """The blocks' own matrices, ready to train; values, flags and modes come back at the end, gradients are cleared."""
    added = {id(parameter) for parameter in of_adapters(language_model.model)}
    inside = dict.fromkeys(parameter for block in language_model.blocks for parameter in block.parameters())
    matrices = [parameter for parameter in inside if id(parameter) not in added and parameter.dim() > 1]
    with swapped({matrix: matrix.detach() for matrix in matrices}), frozen(language_model.model):
        for matrix in matrices:
            matrix.requires_grad_(True)
        try:
            yield matrices
        finally:
            for matrix in matrices:
                matrix.grad = None
