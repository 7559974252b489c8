"""Putting old activations into a model at the lookup token, and what it answers then.

Shape legend: F facts, N size of a key, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from edit_lit.activations.token_rows import prompt_rows
from edit_lit.facts.request import SUBJECT_SLOT, EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.hooks import recorded_input, recorded_output, shifted_input, shifted_output
from edit_lit.language_model.modes import evaluating
from edit_lit.language_model.scoring import ScoredTokens
from edit_lit.language_model.token_batch import TokenBatch, length_batches
from edit_lit.measures.outcomes import KINDS, Kind, Outcomes


@dataclass(frozen=True)
class _Batch:
    """Rows of facts with their answers.

    Args:
        rows: Model input.
        fact: The fact of each row.
        lookup: Position of the lookup token in each row.
        scored: The answers' tokens; a group is twice the fact's number, one more for the alternative.
        first: Whether each of these tokens is the first of its answer.
    """

    rows: TokenBatch
    fact: Tensor
    lookup: Tensor
    scored: ScoredTokens
    first: Tensor

    @property
    def at_lookup(self) -> tuple[Tensor, Tensor]:
        """Row and position of each lookup token."""
        return torch.arange(len(self.lookup), device=self.lookup.device), self.lookup


Activations = Sequence[Tensor]
"""A module's inputs or outputs at all tokens, [rows, length, size], batch by batch."""


@dataclass(frozen=True)
class Patch:
    """Activations to put into a model.

    Args:
        module: Whose they are.
        values: What they shall be.
        inward: Whether they replace the module's input, and not its output.
        everywhere: Whether they are replaced at all tokens, and not at the lookup token alone.
    """

    module: nn.Module
    values: Activations
    inward: bool = False
    everywhere: bool = False


@dataclass(frozen=True)
class Answers:
    """What a model answered, and what was read from it.

    Args:
        outcomes: One row a fact.
        inputs: Inputs of modules.
        outputs: Outputs of modules.
    """

    outcomes: Outcomes
    inputs: list[Activations]
    outputs: list[Activations]


class LookupRows:
    """The prompts of some facts with their answers and alternatives, and where each names its subject last.

    Args:
        language_model: The model.
        requests: The facts.
        batch_tokens: Tokens in a batch, padding included.

    Raises:
        ConfigError: If a subject or target has no tokens.
    """

    def __init__(
        self, language_model: LanguageModel, requests: Sequence[EditRequest], batch_tokens: int = 8192
    ) -> None:
        self.language_model = language_model
        self.facts = len(requests)
        alternatives = [
            (fact, replace(request, target_new=request.target_true))
            for fact, request in enumerate(requests)
            if request.target_true is not None
        ]
        asked = [(fact, 0, request) for fact, request in enumerate(requests)]
        asked += [(fact, 1, request) for fact, request in alternatives]
        found = prompt_rows(language_model.tokenizer, [request for *_, request in asked], [SUBJECT_SLOT])
        self._rows = [(fact, side, rows[0]) for (fact, side, _), rows in zip(asked, found, strict=True)]
        lengths = [len(row.ids) for *_, row in self._rows]
        self._batches = [self._batch(batch) for batch in length_batches(lengths, batch_tokens)]

    def _batch(self, numbers: Sequence[int]) -> _Batch:
        device = self.language_model.device
        chosen = [self._rows[number] for number in numbers]
        tokens = [
            (place, len(row.ids) - len(row.answer) + column, token, 2 * fact + side, column == 0)
            for place, (fact, side, row) in enumerate(chosen)
            for column, token in enumerate(row.answer)
        ]
        return _Batch(
            rows=TokenBatch.of([row.ids for *_, row in chosen], device),
            fact=torch.tensor([fact for fact, *_ in chosen], device=device),
            lookup=torch.tensor([row.subject_last for *_, row in chosen], device=device),
            scored=ScoredTokens.of((token[:4] for token in tokens), device),
            first=torch.tensor([token[4] for token in tokens], device=device),
        )

    def ask(
        self, patches: Sequence[Patch] = (), inputs: Sequence[nn.Module] = (), outputs: Sequence[nn.Module] = ()
    ) -> Answers:
        """Ask all facts once.

        Args:
            patches: Activations to replace.
            inputs: Modules whose inputs are wanted.
            outputs: Modules whose outputs are wanted.
        """
        device = self.language_model.device
        sums = torch.zeros(4, 2 * self.facts, dtype=torch.float64, device=device)
        read: list[list[Tensor]] = [[] for _ in (*inputs, *outputs)]
        with evaluating(self.language_model.model), ExitStack() as stack:
            records = [stack.enter_context(recorded_input(module)) for module in inputs]
            records += [stack.enter_context(recorded_output(module)) for module in outputs]
            for number, batch in enumerate(self._batches):
                with ExitStack() as patched:
                    for patch in patches:
                        patched.enter_context(_patched(patch, batch, number))
                    logits_UV = self.language_model.logits_at(batch.rows, batch.scored.where)
                nll, hits = batch.scored.nll(logits_UV), batch.scored.hits(logits_UV)
                parts = torch.stack([nll, hits, torch.ones_like(nll), hits & batch.first])
                sums.index_add_(1, batch.scored.group, parts.double())
                for record, values in zip(records, read, strict=True):
                    values.append(record.take(batch.rows))
        return Answers(self._outcomes(sums.cpu()), [*read[: len(inputs)]], [*read[len(inputs) :]])

    def at_lookup(self, activations: Activations) -> Tensor:
        """The activations at the lookup token of each fact's prompt, [F, size], in the model's own type."""
        found: dict[int, Tensor] = {}
        for batch, values in zip(self._batches, activations, strict=True):
            # A fact's rows begin alike, so that it makes no difference which of them is read.
            found |= dict(zip(batch.fact.tolist(), values[batch.at_lookup], strict=True))
        return torch.stack([found[fact] for fact in range(self.facts)])

    def _outcomes(self, sums: Tensor) -> Outcomes:
        """Sums over each target's tokens as outcomes, one row a fact."""
        nll, hits, tokens, first = sums.view(4, self.facts, 2)
        number = torch.arange(self.facts)
        return Outcomes(
            request=number,
            kind=torch.full_like(number, KINDS.index(Kind.REWRITE)),
            prompt=torch.zeros_like(number),
            nll=nll / tokens,
            exact=((hits == tokens) & (tokens > 0)).double(),
            token=hits / tokens,
            first=first,
        )


def _patched(patch: Patch, batch: _Batch, number: int) -> AbstractContextManager[None]:
    """A context in which a patch is in place for a batch."""

    def put(whole: Tensor) -> Tensor:
        # Some families flatten rows and positions into one axis around their MLPs.
        changed = whole.clone().view(*batch.rows.ids.shape, -1)
        where = ... if patch.everywhere else batch.at_lookup
        changed[where] = patch.values[number][where].to(whole.dtype)
        return changed.view_as(whole)

    return (shifted_input if patch.inward else shifted_output)(patch.module, put)
