"""How a model behaves at the prompts of a fact: how sure it is, and whether it says the same in other words.

An edit is a new object that a model was made to say. Unlike what it learnt from many texts, it is often held less
surely, or more surely, than the facts around it, and less alike in other wordings. DEED (arXiv 2405.02765) finds edits
from the likeliest tokens' probabilities at the prompt. Both are in one number here, the entropy of the mean
distribution of the next token over the fact's own prompt and its paraphrases, since

    H(mean_j p_j) = mean_j H(p_j) + mean_j KL(p_j ‖ mean_j p_j),

how unsure the model is at each prompt, and how much they disagree (the Jensen-Shannon divergence, Lin 1991). Neither
needs to know what the answer is.

Shape legend: F facts, J prompts of a fact, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.limits import check_lengths
from edit_lit.language_model.modes import evaluating
from edit_lit.language_model.spans import encode_many
from edit_lit.language_model.token_batch import TokenBatch
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.progress import progress
from edit_lit.utilities.text import shown


@dataclass(frozen=True)
class Behavior:
    """What a model does at the prompts of some facts, in nats, float64 on the CPU.

    Args:
        entropy_F: Mean entropy of the next token over the fact's prompts.
        disagreement_F: Jensen-Shannon divergence of these distributions; 0 for a fact without paraphrases.
        says: The likeliest next token at the fact's own prompt, as text.
    """

    entropy_F: Tensor
    disagreement_F: Tensor
    says: tuple[str, ...]

    @property
    def mixture_entropy_F(self) -> Tensor:
        """The entropy of the mean distribution: both numbers added up."""
        return self.entropy_F + self.disagreement_F

    def __len__(self) -> int:
        return len(self.says)

    def __getitem__(self, places: Sequence[int]) -> Behavior:
        index = torch.tensor(places, dtype=torch.long)
        return Behavior(self.entropy_F[index], self.disagreement_F[index], tuple(self.says[place] for place in places))


@dataclass(frozen=True)
class PromptRows:
    """Prompts as tokens, the fact's own one first.

    Args:
        rows: Token rows of each fact.
    """

    rows: tuple[tuple[list[int], ...], ...]

    @classmethod
    def of(cls, language_model: LanguageModel, requests: Sequence[EditRequest]) -> PromptRows:
        """Tokenise the prompts of some facts.

        Args:
            language_model: The model whose tokenizer is used.
            requests: The facts.

        Raises:
            ConfigError: If the model has too few positions for a prompt, or a prompt has no token.
        """
        prompts = [(request, text) for request in requests for text in (request.question, *request.paraphrases)]
        ids = [encoded.ids for encoded in encode_many(language_model.tokenizer, [text for _, text in prompts])]

        def called(number: int) -> str:
            return f"{prompts[number][0].name}: the prompt {shown(prompts[number][1])}"

        for number, row in enumerate(ids):
            if not row:
                raise ConfigError(f"{called(number)} has no token. Write it out.")
        check_lengths(language_model, [len(row) for row in ids], called, "Shorten it")
        rest = iter(ids)
        return cls(tuple(tuple(next(rest) for _ in range(1 + len(request.paraphrases))) for request in requests))

    def batches(self, batch_tokens: int) -> list[range]:
        """Facts that are asked at once, all prompts of one together.

        Args:
            batch_tokens: Tokens in a batch, padding included; a fact with more stands alone.
        """
        found: list[range] = []
        first, longest, count = 0, 0, 0
        for fact, rows in enumerate(self.rows):
            longest, count = max(longest, *map(len, rows)), count + len(rows)
            if fact > first and longest * count > batch_tokens:
                found.append(range(first, fact))
                first, longest, count = fact, max(map(len, rows)), len(rows)
        return [*found, range(first, len(self.rows))] if self.rows else []


def read_behavior(language_model: LanguageModel, prompts: PromptRows, batch_tokens: int, title: str) -> Behavior:
    """Ask a model for the next token at every prompt.

    Args:
        language_model: The model.
        prompts: The prompts.
        batch_tokens: Tokens in a batch, padding included.
        title: What the progress is shown under.

    Raises:
        ConfigError: If an answer is not a finite number.
    """
    entropy: list[float] = []
    disagreement: list[float] = []
    tokens: list[int] = []
    with evaluating(language_model.model):
        for facts in progress(prompts.batches(batch_tokens), title, "batches"):
            rows = [row for fact in facts for row in prompts.rows[fact]]
            counts = [len(prompts.rows[fact]) for fact in facts]
            for of_fact_JV in _next_token(language_model, rows).split(counts):
                mean_V = torch.logsumexp(of_fact_JV, 0) - math.log(len(of_fact_JV))
                probability_JV = of_fact_JV.exp()
                entropy.append(-float((probability_JV * of_fact_JV).nan_to_num(0.0).sum(1).mean()))
                against = (probability_JV * (of_fact_JV - mean_V)).nan_to_num(0.0)
                disagreement.append(max(0.0, float(against.sum(1).mean())))
                tokens.append(int(of_fact_JV[0].argmax()))
    return Behavior(
        torch.tensor(entropy, dtype=torch.float64),
        torch.tensor(disagreement, dtype=torch.float64),
        tuple(str(language_model.tokenizer.decode([token])).strip() for token in tokens),
    )


def _next_token(language_model: LanguageModel, rows: Sequence[list[int]]) -> Tensor:
    """Log probabilities of the token after each row, [rows, V], float64."""
    batch = TokenBatch.of(rows, language_model.device)
    last = batch.mask.sum(1) - 1
    logits = language_model.logits_at(batch, (torch.arange(len(rows), device=last.device), last))
    if logits.isnan().any() or logits.isposinf().any():
        raise ConfigError("the model's answers are not numbers. Load it with dtype float32, or a model that is whole.")
    return logits.double().log_softmax(-1)
