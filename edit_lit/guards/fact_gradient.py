"""The gradient of a loss on some facts, a few of them in each optimizer step."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from edit_lit.editors.gradient.training import teacher_forced
from edit_lit.facts.request import EditRequest
from edit_lit.guards.wordings import with_paraphrases
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import evaluating
from edit_lit.language_model.scoring import ScoredRow, mean_nll
from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError

RowLoss = Callable[[Sequence[int]], Tensor]
"""The loss of each of some rows, by their numbers, [rows]."""


class FactGradient:
    """Draws rows without replacement, pass after pass, and adds the gradient of their mean loss up over processes.

    What is drawn hangs on the seed and the step alone. The model is asked without dropout.

    Args:
        language_model: The model, with the parameters that train marked so.
        rows: How many rows there are.
        loss: The loss of each of some rows; gradients reach the model.
        batch_size: Rows in a step, all processes together; all of them if there are fewer.
        seed: Seed of the order.
    """

    def __init__(self, language_model: LanguageModel, rows: int, loss: RowLoss, batch_size: int, seed: int) -> None:
        self.language_model = language_model
        self.rows = rows
        self.loss = loss
        self.batch_size = min(batch_size, rows)
        self.seed = seed
        self.parameters: list[nn.Parameter] = [p for p in language_model.model.parameters() if p.requires_grad]

    def drawn(self, step: int) -> list[int]:
        """The rows of a step: the next ones of an endless row of passes, each in an order of its own."""
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        return [self._order(place // self.rows)[place % self.rows] for place in places]

    def _order(self, number: int) -> list[int]:
        order = list(range(self.rows))
        random.Random(f"{self.seed} {number}").shuffle(order)
        return order

    def at(self, step: int) -> tuple[Tensor, Sequence[Tensor]]:
        """The mean loss of a step's rows and its gradient by every parameter that trains, equal in all processes."""
        drawn = self.drawn(step)
        mine = drawn[distributed.rank() :: distributed.world_size()]
        with without_dropout(self.language_model.model):
            # A process without a row of its own takes part all the same, since the others wait for its sums.
            loss = self.loss(mine or drawn[:1]).sum() / len(drawn) * bool(mine)
            gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True, materialize_grads=True)
        for gradient in gradients:
            distributed.sum_over_processes(gradient)
        return distributed.sum_over_processes(loss.detach()), gradients


def share_of(requests: Sequence[EditRequest], share: float, seed: int) -> list[EditRequest]:
    """A share of some facts, rounded to the nearest number but at least one, drawn by a seed."""
    places = random.Random(seed).sample(range(len(requests)), max(1, round(share * len(requests))))
    return [requests[place] for place in sorted(places)]


def rows_of(language_model: LanguageModel, requests: Sequence[EditRequest], paraphrases: int) -> list[ScoredRow]:
    """Prompt and new target of some facts, and of some paraphrases of each, under teacher forcing.

    Raises:
        ConfigError: If nothing of the model trains, so that there is no gradient.
    """
    if not any(parameter.requires_grad for parameter in language_model.model.parameters()):
        raise ConfigError("nothing of the model trains, so that a guard has no gradient to act on. Choose what trains.")
    said = with_paraphrases(requests, paraphrases, "guards.use.paraphrases")
    return teacher_forced(language_model.tokenizer, said, end=False)


def target_loss(language_model: LanguageModel, rows: Sequence[ScoredRow]) -> RowLoss:
    """The mean NLL per target token of some of the rows."""

    def loss(numbers: Sequence[int]) -> Tensor:
        return mean_nll(language_model, [rows[number] for number in numbers])

    return loss


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Evaluation mode with gradients; each module's own mode is restored afterwards."""
    with evaluating(model), torch.enable_grad():
        yield
