"""Gradient descent on the NLL of the edits' targets, for any trainable parameters.

Shape legend: S rows of a mini-batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from edit_lit.editors.gradient.master_weights import MasterWeights, Project
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.scoring import ScoredRow, mean_nll
from edit_lit.language_model.spans import AnswerRow, answer_rows
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.progress import progress


def teacher_forced(tokenizer: PreTrainedTokenizerBase, requests: Sequence[EditRequest], end: bool) -> list[ScoredRow]:
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
    return [
        ScoredRow.teacher_forced([*row.ids, *row.answer[-1:]] if end else row.ids, row.answer + ending)
        for row in _target_rows(tokenizer, requests)
    ]


def prompt_last(tokenizer: PreTrainedTokenizerBase, requests: Sequence[EditRequest]) -> list[ScoredRow]:
    """Rows of the prompt alone, whose last distribution is asked for every target token.

    Raises:
        ConfigError: If a target has no tokens.
    """
    return [
        ScoredRow(row.ids[: row.positions[0] + 1], [row.positions[0]] * len(row.answer), row.answer)
        for row in _target_rows(tokenizer, requests)
    ]


def _target_rows(tokenizer: PreTrainedTokenizerBase, requests: Sequence[EditRequest]) -> list[AnswerRow]:
    """Prompt and target of each request; an error names the request."""
    pairs = [(request.question, request.target_new) for request in requests]
    return answer_rows(tokenizer, pairs, [request.name for request in requests])


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
            check_number(f"training.{name}", getattr(self, name), least=1)
        check_number("training.lr", self.lr, above=0)
        check_number("training.stop_loss", self.stop_loss, least=0)

    def run(
        self,
        language_model: LanguageModel,
        rows: Sequence[ScoredRow],
        parameters: Sequence[Tensor],
        project: Project | None = None,
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
        masters = MasterWeights(parameters, self.lr)
        losses = torch.zeros(len(rows), dtype=torch.float64)
        batches = [slice(start, start + self.minibatch) for start in range(0, len(rows), self.minibatch)]
        for _ in progress(range(self.epochs), "training on the facts", "epochs"):
            for batch in batches:
                loss_S = mean_nll(language_model, rows[batch])
                losses[batch] = loss_S.detach().double().cpu()
                loss = loss_S.mean()
                if float(loss.detach()) >= self.stop_loss:
                    gradients = torch.autograd.grad(loss, list(parameters))
                    masters.step(gradients, project)
            if float(losses.mean()) < self.stop_loss:
                break
        return masters.copies, losses.tolist()
