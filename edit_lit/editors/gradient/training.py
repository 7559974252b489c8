"""Gradient descent on what the edited facts' targets cost, whatever it is that learns.

Shape legend: S rows of a mini-batch, P scored positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from edit_lit import distributed
from edit_lit.errors import ConfigError
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel, working_type
from edit_lit.language_model.spans import answer_rows
from edit_lit.language_model.token_batch import TokenBatch


@dataclass(frozen=True)
class TargetRow:
    """A prompt as model input and the tokens that it should be followed by.

    Args:
        ids: Token ids.
        columns: For each target token, the position whose next-token distribution scores it.
        tokens: The target tokens.
    """

    ids: list[int]
    columns: list[int]
    tokens: list[int]


def teacher_forced(tokenizer: PreTrainedTokenizerBase, requests: Sequence[EditRequest], end: bool) -> list[TargetRow]:
    """Rows in which every target token is predicted from the prompt and the target tokens before it.

    Args:
        tokenizer: The tokenizer.
        requests: The facts.
        end: Let the end-of-text token follow the target.

    Raises:
        ConfigError: If a target has no tokens, or ``end`` is asked of a tokenizer without such a token.
    """
    if end and tokenizer.eos_token_id is None:
        raise ConfigError("end_of_text is true, but the tokenizer has no end-of-text token. Set it to false.")
    ending = [int(tokenizer.eos_token_id)] if end else []
    rows = []
    for ids, answer in _answers(tokenizer, requests):
        tokens = answer + ending
        start = len(ids) - len(answer)
        rows.append(TargetRow(ids[: start + 1] + tokens[:-1], list(range(start, start + len(tokens))), tokens))
    return rows


def prompt_last(tokenizer: PreTrainedTokenizerBase, requests: Sequence[EditRequest]) -> list[TargetRow]:
    """Rows of the prompt alone, whose last distribution is asked for every target token.

    Raises:
        ConfigError: If a target has no tokens.
    """
    rows = []
    for ids, answer in _answers(tokenizer, requests):
        last = len(ids) - len(answer)
        rows.append(TargetRow(ids[: last + 1], [last] * len(answer), answer))
    return rows


def _answers(tokenizer: PreTrainedTokenizerBase, requests: Sequence[EditRequest]) -> list[tuple[list[int], list[int]]]:
    answers = []
    for request in requests:
        try:
            (row,) = answer_rows(tokenizer, [(request.question, request.target_new)])
        except ValueError as error:
            raise ConfigError(f"{request.name}: {error}") from error
        answers.append((row.ids, row.answer))
    return answers


@dataclass(frozen=True)
class TargetTraining:
    """Adam on the targets' mean negative log-likelihood per token.

    Args:
        lr: Learning rate.
        epochs: Passes over the facts at most.
        minibatch: Facts in a step.
        stop_loss: A mini-batch below this loss is passed over, and an epoch below it is the last one.
    """

    lr: float = 5e-4
    epochs: int = 25
    minibatch: int = 64
    stop_loss: float = 1e-2

    def __post_init__(self) -> None:
        for name in ("epochs", "minibatch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"training.{name} is {getattr(self, name)}; it must be at least 1.")
        if self.lr <= 0:
            raise ConfigError(f"training.lr is {self.lr}; it must be above 0.")

    def run(
        self,
        language_model: LanguageModel,
        rows: Sequence[TargetRow],
        parameters: Sequence[Tensor],
        project: Callable[[Sequence[Tensor]], None] | None = None,
    ) -> tuple[list[Tensor], list[float]]:
        """Train some parameters of the model, in place.

        Adam works on copies in float32 or better, from which half-precision weights are rounded after each step.

        Args:
            language_model: The model, frozen but for the parameters.
            rows: The facts.
            parameters: What learns.
            project: Called with the copies after each step, to limit them.

        Returns:
            The trained copies, and the loss of each fact when it was last seen.
        """
        masters = [parameter.detach().to(working_type(parameter)).clone() for parameter in parameters]
        optimizer = torch.optim.Adam(masters, lr=self.lr)
        losses = torch.zeros(len(rows), dtype=torch.float64)
        batches = [slice(start, start + self.minibatch) for start in range(0, len(rows), self.minibatch)]
        for _ in tqdm(range(self.epochs), desc="training", unit="epoch", disable=distributed.rank() > 0, leave=False):
            for batch in batches:
                loss_S = target_loss(language_model, rows[batch])
                losses[batch] = loss_S.detach().double().cpu()
                loss = loss_S.mean()
                if float(loss.detach()) >= self.stop_loss:
                    gradients = torch.autograd.grad(loss, list(parameters))
                    _step(optimizer, masters, parameters, gradients, project)
            if float(losses.mean()) < self.stop_loss:
                break
        return masters, losses.tolist()


@torch.no_grad()
def _step(
    optimizer: torch.optim.Optimizer,
    masters: Sequence[Tensor],
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    project: Callable[[Sequence[Tensor]], None] | None,
) -> None:
    for master, gradient in zip(masters, gradients, strict=True):
        master.grad = gradient.to(master.dtype)
    optimizer.step()
    if project is not None:
        project(masters)
    for master, parameter in zip(masters, parameters, strict=True):
        parameter.copy_(master)


def target_loss(language_model: LanguageModel, rows: Sequence[TargetRow]) -> Tensor:
    """Mean negative log-likelihood per target token of each row, in nats, [S]."""
    device = language_model.device
    scored = [
        (number, column, token, 1.0 / len(row.tokens))
        for number, row in enumerate(rows)
        for column, token in zip(row.columns, row.tokens, strict=True)
    ]
    row_P, column_P, token_P, weight_P = (torch.tensor(part, device=device) for part in zip(*scored, strict=True))
    logits = language_model.logits_at(TokenBatch.of([row.ids for row in rows], device), (row_P, column_P))
    log_p = logits.to(working_type(logits)).log_softmax(-1).gather(1, token_P[:, None])[:, 0]
    return torch.zeros(len(rows), dtype=log_p.dtype, device=device).index_add(
        0, row_P, -log_p * weight_P.to(log_p.dtype)
    )
