"""Probes: batched questions that measure what a model answers about facts, all through training.

Shape legend: P scored tokens, U distinct positions, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from edit_lit.facts.request import EditRequest, Question, fact_hash
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.limits import check_lengths
from edit_lit.language_model.modes import evaluating
from edit_lit.language_model.scoring import ScoredTokens
from edit_lit.language_model.spans import AnswerRow, answer_rows
from edit_lit.language_model.token_batch import TokenBatch, length_batches
from edit_lit.measures.outcomes import KINDS, Kind, Outcomes, Pool
from edit_lit.measures.question_files import AskedQuestion
from edit_lit.utilities import distributed
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.progress import progress
from edit_lit.utilities.text import shown


@dataclass(frozen=True)
class _ProbeBatch:
    """Rows of similar length and the answer tokens that are scored in them.

    Args:
        rows: Model input.
        scored: The tokens, grouped by target: question · 2 for its answer, + 1 for its alternative.
        opens: Whether each token is the first of its target, [P].
    """

    rows: TokenBatch
    scored: ScoredTokens
    opens: Tensor

    def to(self, device: torch.device) -> _ProbeBatch:
        """The same on a device."""
        return _ProbeBatch(self.rows.to(device), self.scored.to(device), self.opens.to(device))


class Probe:
    """Asks a model every question about one pool of facts; built once, run at every probe step.

    Everything that does not depend on the weights is prepared here. A row whose tokens begin another row is not
    run: in a causal model the longer row computes the same hidden states, so that the two targets of a prompt
    share one row wherever one of them is a single token.

    Args:
        requests: The facts.
        tokenizer: The model's tokenizer.
        pool: The facts' pool. ``edited`` facts should answer ``target_new``; the others ``target_true``.
        batch_tokens: Tokens in a batch, padding included.

    Attributes:
        questions: What is asked, in the order of the outcomes.

    Raises:
        ConfigError: If an answer has no tokens, or an unedited fact has no ``target_true``.
    """

    def __init__(
        self,
        requests: Sequence[EditRequest],
        tokenizer: PreTrainedTokenizerBase,
        pool: Pool = Pool.EDITED,
        batch_tokens: int = 8192,
    ) -> None:
        check_number("batch_tokens", batch_tokens, least=1)
        self.requests = list(requests)
        self.pool = pool
        asked = [
            (index, kind, number, question)
            for index, request in enumerate(self.requests)
            for kind in KINDS
            for number, question in enumerate(questions_of(request, kind, pool))
        ]
        self._request = torch.tensor([index for index, *_ in asked], dtype=torch.long)
        self._kind = torch.tensor([KINDS.index(kind) for _, kind, *_ in asked], dtype=torch.long)
        self._prompt = torch.tensor([number for *_, number, _ in asked], dtype=torch.long)
        questions = [question for *_, question in asked]
        targets = [2 * number for number in range(len(questions))]
        targets += [2 * number + 1 for number, question in enumerate(questions) if question.alternative]
        pairs = [(questions[target // 2].prompt, _text(questions[target // 2], target)) for target in targets]
        names = [self.requests[asked[target // 2][0]].name for target in targets]
        rows = answer_rows(tokenizer, pairs, names)
        lengths = {target: len(row.answer) for target, row in zip(targets, rows, strict=True)}
        self.questions = _as_asked(asked, lengths, self.requests, tokenizer)
        self._batches = _probe_batches(rows, targets, batch_tokens)
        longest = max(range(len(rows)), key=lambda number: len(rows[number].ids), default=None)
        self._longest = None if longest is None else (len(rows[longest].ids), names[longest], pairs[longest][0])
        self.device = torch.device("cpu")

    def check(self, language_model: LanguageModel) -> None:
        """Refuse prompts for which a model has too few positions.

        Raises:
            ConfigError: Naming the fact with the longest prompt, and the limit.
        """
        if self._longest is not None:
            length, name, prompt = self._longest
            check_lengths(language_model, [length], lambda _: f"{name}: the prompt {shown(prompt)}", "Shorten it")

    def run(self, language_model: LanguageModel, title: str | None = None) -> Outcomes:
        """Ask every question once.

        With several processes each runs a share of the batches and all get all outcomes. What the model answers with
        numbers that are not finite is marked; see :class:`~edit_lit.measures.outcomes.Outcomes`.

        Args:
            language_model: The model.
            title: Show progress under this title.

        Raises:
            ConfigError: If the model has too few positions for a prompt.
        """
        if not len(self._request):
            return Outcomes.empty()
        self.check(language_model)
        device = language_model.device
        size = 2 * len(self._request)
        # Sums over each target's tokens: -log p, argmax hits, tokens, and whether its first token was hit.
        sums = torch.zeros(4, size, dtype=torch.float64, device=device)
        with evaluating(language_model.model):
            batches = distributed.shard(self._batches_on(device))
            for batch in progress(batches, title or "", "batches", hidden=title is None):
                logits_UV = language_model.logits_at(batch.rows, batch.scored.where)
                nll_P, hit_P = batch.scored.nll(logits_UV), batch.scored.hits(logits_UV)
                parts = torch.stack([nll_P, hit_P, torch.ones_like(nll_P), hit_P & batch.opens])
                sums.index_add_(1, batch.scored.group, parts.double())
        nll, hits, tokens, first = distributed.sum_over_processes(sums).cpu().view(4, -1, 2)
        # An argmax over what is not a number says nothing, so that such an answer is neither a hit nor a miss.
        unknown = ~nll.isfinite()
        exact = ((hits == tokens) & (tokens > 0)).double()
        return Outcomes(
            request=self._request,
            kind=self._kind,
            prompt=self._prompt,
            nll=nll / tokens,
            exact=exact.masked_fill(unknown, math.nan),
            token=(hits / tokens).masked_fill(unknown, math.nan),
            first=first.masked_fill(unknown, math.nan),
        )

    def _batches_on(self, device: torch.device) -> list[_ProbeBatch]:
        """The batches on the model's device, to which they are moved once."""
        if device != self.device:
            self._batches = [batch.to(device) for batch in self._batches]
            self.device = device
        return self._batches


def _as_asked(
    asked: Sequence[tuple[int, Kind, int, Question]],
    lengths: Mapping[int, int],
    requests: Sequence[EditRequest],
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[AskedQuestion, ...]:
    """The questions with all that is known of them before a model is asked."""
    texts = [f" {request.subject}" for request in requests]
    subjects = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    facts = [fact_hash(request) for request in requests]
    return tuple(
        AskedQuestion(
            request=index,
            fact=facts[index],
            id=requests[index].id,
            subject=requests[index].subject,
            relation=requests[index].relation,
            kind=kind,
            prompt=prompt,
            text=question.prompt,
            answer=question.answer,
            alternative=question.alternative,
            subject_tokens=len(subjects[index]),
            answer_tokens=lengths[2 * number],
            alternative_tokens=lengths.get(2 * number + 1),
        )
        for number, (index, kind, prompt, question) in enumerate(asked)
    )


def _text(question: Question, target: int) -> str:
    """What a target asks for: the answer if its number is even, the alternative if not."""
    return question.answer if target % 2 == 0 else str(question.alternative)


def questions_of(request: EditRequest, kind: Kind, pool: Pool) -> Sequence[Question]:
    """The questions of one kind that a pool asks about a fact.

    Outside the ``edited`` pool, the answer to the rewrite and paraphrase prompts is what the model knew.

    Raises:
        ConfigError: If that is not given.
    """
    if kind is Kind.NEIGHBORHOOD:
        return request.neighborhood if pool is Pool.EDITED else ()
    if kind is Kind.PORTABILITY:
        return request.portability if pool is Pool.EDITED else ()
    answer, alternative = request.target_new, request.target_true
    if pool is not Pool.EDITED:
        if alternative is None:
            raise ConfigError(
                f"{request.name} has no target_true, so the {pool} pool cannot ask what the model knew. Add it."
            )
        answer, alternative = alternative, answer
    prompts = (request.question,) if kind is Kind.REWRITE else request.paraphrases
    return tuple(Question(prompt, answer, alternative) for prompt in prompts)


def _probe_batches(rows: list[AnswerRow], targets: list[int], batch_tokens: int) -> list[_ProbeBatch]:
    hosts, host_of = _absorb_prefixes([tuple(row.ids) for row in rows])
    guests: list[list[int]] = [[] for _ in hosts]
    for number, host in enumerate(host_of):
        guests[host].append(number)
    return [
        _probe_batch([hosts[host] for host in batch], [[(rows[n], targets[n]) for n in guests[host]] for host in batch])
        for batch in length_batches([len(host) for host in hosts], batch_tokens)
    ]


def _absorb_prefixes(rows: list[tuple[int, ...]]) -> tuple[list[tuple[int, ...]], list[int]]:
    """Leave out rows that are a prefix of another row.

    Gives the rows that remain, and for each given row the number of the one whose prefix it is.

    Sorted, all rows that begin with a given row stand right behind it, so one backward walk finds them.
    """
    hosts: list[tuple[int, ...]] = []
    host_of = [0] * len(rows)
    for number in sorted(range(len(rows)), key=rows.__getitem__, reverse=True):
        row = rows[number]
        if not hosts or hosts[-1][: len(row)] != row:
            hosts.append(row)
        host_of[number] = len(hosts) - 1
    return hosts, host_of


def _probe_batch(hosts: list[tuple[int, ...]], guests: list[list[tuple[AnswerRow, int]]]) -> _ProbeBatch:
    answers = [(number, row, target) for number, of_host in enumerate(guests) for row, target in of_host]
    tokens = (
        (number, column, token, target)
        for number, row, target in answers
        for column, token in zip(row.positions, row.answer, strict=True)
    )
    opens = torch.tensor([place == 0 for _, row, _ in answers for place in range(len(row.answer))])
    return _ProbeBatch(TokenBatch.of(hosts), ScoredTokens.of(tokens), opens)
