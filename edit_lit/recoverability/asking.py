"""The tests that only ask: probability, rank, other wordings, and the logit lens.

Shape legend: F facts, U positions, V vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import evaluating
from edit_lit.language_model.partial_forward import run_blocks
from edit_lit.language_model.spans import AnswerRow, answer_rows
from edit_lit.language_model.token_batch import TokenBatch, length_batches
from edit_lit.measures.outcomes import Kind, Outcomes
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import Rule, success

_IDENTIFIER = re.compile(r"[PQ]\d+")


@dataclass(frozen=True)
class Answers:
    """What one model says of some facts, [F] each.

    Args:
        nll: Mean NLL of the new target per token, in nats.
        rank: Rank of the new target among all tokens, from 1; the worst one of its tokens, each behind the right ones.
        wordings: How many of the other wordings find it; NaN if there are none.
        lens: The best rank of its first token in the logit lens, over the middle layers.
    """

    nll: Tensor
    rank: Tensor
    wordings: Tensor
    lens: Tensor


class Asking:
    """Asks one model after the other about the same facts.

    Args:
        language_model: The model, in whichever state.
        requests: The facts.
        rule: The success rule of the other wordings.
        batch_tokens: Tokens in a batch, padding included.
    """

    def __init__(
        self, language_model: LanguageModel, requests: Sequence[EditRequest], rule: Rule, batch_tokens: int = 8192
    ) -> None:
        self.language_model = language_model
        self.rule = rule
        self.layers = middle_layers(len(language_model.blocks))
        self.batch_tokens = batch_tokens
        self._probe = Probe(
            [
                replace(request, paraphrases=other_wordings(request), neighborhood=(), portability=())
                for request in requests
            ],
            language_model.tokenizer,
            batch_tokens=batch_tokens,
        )
        self._rows = answer_rows(
            language_model.tokenizer,
            [(request.question, request.target_new) for request in requests],
            [request.name for request in requests],
        )

    @property
    def passes(self) -> int:
        """How often the model runs over the facts."""
        return 2 + len(self.layers)

    def nll(self) -> Tensor:
        """NLL of the new targets alone, [F]."""
        return self._probe.run(self.language_model).of_kind(Kind.REWRITE).nll[:, 0]

    def ask(self, watch: Callable[[], object] = lambda: None) -> Answers:
        """Ask the model as it is now.

        Args:
            watch: Called after each pass.
        """
        outcomes = self._probe.run(self.language_model)
        watch()
        rank = target_ranks(self.language_model, self._rows, self.batch_tokens)
        watch()
        first = [AnswerRow(row.ids[: len(row.ids) - len(row.answer) + 1], row.answer[:1]) for row in self._rows]
        seen = []
        for layer in self.layers:
            seen.append(target_ranks(self.language_model, first, self.batch_tokens, layer))
            watch()
        nll = outcomes.of_kind(Kind.REWRITE).nll[:, 0]
        return Answers(nll, rank, _found(outcomes, self.rule, len(rank)), torch.stack(seen).min(dim=0).values)


def _found(outcomes: Outcomes, rule: Rule, facts: int) -> Tensor:
    """How many of each fact's other wordings are answered, [F]; NaN without any."""
    rows = outcomes.of_kind(Kind.PARAPHRASE)
    asked, found = (torch.zeros(facts, dtype=torch.float64) for _ in range(2))
    asked.index_add_(0, rows.request, torch.ones(len(rows), dtype=torch.float64))
    found.index_add_(0, rows.request, (success(rows, rule) == 1).double())
    return torch.where(asked > 0, found, torch.nan)


def middle_layers(count: int) -> range:
    """The middle half of a model's layers, from 0; never the last one, unless there is no other.

    Examples:
        >>> middle_layers(6), middle_layers(32)
        (range(1, 5), range(8, 24))
    """
    return range(count // 4, max(count - max(count // 4, 1), 1))


def other_wordings(request: EditRequest) -> tuple[str, ...]:
    """The request's paraphrases, and a prompt with the relation spelled out where it has a name in words.

    Examples:
        >>> request = EditRequest("Oslo", "{} lies in", "Peru", relation="country", paraphrases=("Oslo is in",))
        >>> other_wordings(request)
        ('Oslo is in', 'The country of Oslo is')
    """
    relation = request.relation
    if relation is None or _IDENTIFIER.fullmatch(relation):
        return request.paraphrases
    return (*request.paraphrases, f"The {relation.replace('_', ' ').strip()} of {request.subject} is")


@torch.no_grad()
def target_ranks(
    language_model: LanguageModel, rows: Sequence[AnswerRow], batch_tokens: int = 8192, layer: int | None = None
) -> Tensor:
    """The rank of each row's answer among all tokens, from 1, [rows]; that of its worst token.

    Args:
        language_model: The model.
        rows: Prompts with answers, under teacher forcing.
        batch_tokens: Tokens in a batch, padding included.
        layer: Decode the output of this layer by the model's own final norm and head (the logit lens), instead of that
            of the last one.

    Returns:
        Ranks; infinite where the logits are not numbers.
    """
    ranks = torch.zeros(len(rows), dtype=torch.float64)
    with evaluating(language_model.model):
        for batch in length_batches([len(row.ids) for row in rows], batch_tokens):
            tokens = [
                (number, column, token)
                for number, index in enumerate(batch)
                for column, token in zip(rows[index].positions, rows[index].answer, strict=True)
            ]
            number, column, token = torch.tensor(tokens, device=language_model.device).unbind(1)
            inputs = TokenBatch.of([rows[index].ids for index in batch], language_model.device)
            logits_UV = run_blocks(language_model, inputs, (number, column), stop_after=layer)
            own_U = logits_UV.gather(1, token[:, None])
            rank_U = 1.0 + (logits_UV > own_U).sum(dim=1).double()
            rank_U[~logits_UV.isfinite().all(dim=1)] = torch.inf
            worst = torch.zeros(len(batch), dtype=torch.float64, device=rank_U.device)
            ranks[batch] = worst.scatter_reduce(0, number, rank_U, "amax").cpu()
    return ranks
