"""Unlearn: the edited weights train until the new objects are unlikely, by the losses of machine unlearning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from edit_lit.deltas import Delta
from edit_lit.editors.gradient.training import teacher_forced
from edit_lit.erasers.eraser import Eraser
from edit_lit.erasers.task_rows import task_rows
from edit_lit.erasers.training import Descent, training
from edit_lit.erasers.unlearning_losses import Kind, UnlearningLoss
from edit_lit.facts.request import EditRequest
from edit_lit.guards.fact_gradient import FactGradient, RowLoss
from edit_lit.guards.kept_distributions import KeptDistributions
from edit_lit.guards.wordings import with_paraphrases
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.module_tree import projection_weight
from edit_lit.language_model.scoring import ScoredRow, mean_nll, mean_nll_in_batches
from edit_lit.surgery.written import check_bare, check_of_weights, named
from edit_lit.tasks.task import Task
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


class Unlearn(Eraser):
    """Trains the edited weights until the new objects are unlikely, and keeps what the model says of other texts.

    The loss is that of :class:`~edit_lit.erasers.unlearning_losses.UnlearningLoss` on the edited prompts, plus
    ``retain`` times KL(before ‖ now), the divergence from what the model answered before the unlearning, at the label
    tokens of a task's training texts. It stops where the mean probability of the new objects is below a threshold,
    which is asked after each pass over the prompts.

    It makes answers unlikely, and promises no more: neither that the true object comes back, nor that nothing of the
    edit is left in the weights.

    Args:
        task: The texts that it keeps the model on: the run's own task, or other text by one. Only their label tokens
            count. Facts by which an erasing is judged do not belong there.
        loss: ``npo``, ``sim_npo`` or ``grad_diff``.
        retain: Weight of the divergence on the texts; 0 unlearns without any.
        layers: The layers whose MLP output projection trains; the weights that the edit changed if not given.
        steps: Optimizer steps, at most.
        lr: Learning rate of Adam.
        batch_size: Prompts, and texts, in a step.
        beta: β of ``npo`` (0.1 if not given) or ``sim_npo`` (2.5).
        gamma: γ of ``sim_npo``.
        stop_probability: Stop where the mean probability of the new objects is below it; 0 takes all steps.
        paraphrases: So many paraphrases of each fact are unlearnt beside its own prompt.
        top: So many of the likeliest tokens are kept one by one at each label token, and the others as one.
        seed: Seed of which texts are read, and of the order of prompts and texts.
    """

    def __init__(
        self,
        task: Task | None = None,
        loss: Kind = "npo",
        retain: float = 1.0,
        layers: Sequence[int] | None = None,
        steps: int = 200,
        lr: float = 1e-4,
        batch_size: int = 16,
        beta: float | None = None,
        gamma: float = 0.0,
        stop_probability: float = 0.01,
        paraphrases: int = 0,
        top: int = 64,
        seed: int = 0,
    ) -> None:
        check_number("eraser.retain", retain, least=0)
        check_number("eraser.batch_size", batch_size, least=1)
        check_number("eraser.stop_probability", stop_probability, least=0, below=1)
        check_number("eraser.paraphrases", paraphrases, least=0)
        check_number("eraser.top", top, least=1)
        if layers is not None and not layers:
            raise ConfigError("eraser.layers names no layer. Name some, or leave it out for what the edit changed.")
        if retain and task is None:
            raise ConfigError(
                f"eraser.retain is {retain:g}, but eraser.task names no texts to keep the model on. Name the run's own "
                "task or another one, or set eraser.retain to 0."
            )
        if task is not None and not retain:
            raise ConfigError("eraser.retain is 0, so that eraser.task would do nothing. Leave one of them out.")
        self.task = task
        self.loss = UnlearningLoss(loss, beta, gamma)
        self.retain = retain
        self.layers = sorted(set(layers)) if layers is not None else None
        self.descent = Descent(steps, lr)
        self.batch_size = batch_size
        self.stop_probability = stop_probability
        self.paraphrases = paraphrases
        self.top = top
        self.seed = seed
        self._said: list[EditRequest] = []
        self._requests: Sequence[EditRequest] = ()
        self._edited: list[str] = []
        self._did, self._divergence = "", math.nan

    def setup(self, language_model: LanguageModel, delta: Delta, requests: Sequence[EditRequest]) -> None:
        """Take the facts, and the names of the edited weights."""
        check_of_weights(delta, "Unlearn")
        self._said = with_paraphrases(requests, self.paraphrases, "eraser.paraphrases")
        self._requests, self._edited, self._did = requests, list(delta.updates), ""

    def changes(self, language_model: LanguageModel) -> list[str]:
        """The weights that the edit changed, or those of the named layers' MLP output projections."""
        return [language_model.parameter_name(weight) for weight in self._weights(language_model)]

    def erase(self, language_model: LanguageModel) -> None:
        """Train.

        Raises:
            ConfigError: If there was no setup, the model lacks a layer, an adapter is on a weight, the task has no
                texts, or the training diverges.
        """
        weights = self._weights(language_model)
        check_bare(language_model, weights, "Unlearn")
        rows = teacher_forced(language_model.tokenizer, self._said, end=False)
        kept = self._kept(language_model)
        with training(language_model, weights):
            forget = self._forget(language_model, rows)
            retain = None
            if kept is not None:
                retain = self._gradient(language_model, len(kept.rows), kept.divergence)
            every = math.ceil(len(rows) / forget.batch_size)
            likely = [mean_probability(language_model, rows)]

            def done(step: int) -> bool:
                if step and step % every == 0:
                    likely.append(mean_probability(language_model, rows))
                return likely[-1] < self.stop_probability

            taken = self.descent.run(forget.parameters, partial(self._at, forget, retain), "unlearning", done=done)
            likely.append(mean_probability(language_model, rows))
        beside = f"; KL on the texts in the last step {self._divergence:.3g} nats per token" if kept and taken else ""
        self._did = (
            f"Unlearn took {taken} steps of {self.loss.kind} on {len(weights)} matrices; mean probability of the new "
            f"objects {likely[0]:.3g} before, {likely[-1]:.3g} after{beside}"
        )

    def _at(self, forget: FactGradient, retain: FactGradient | None, step: int) -> tuple[float, Sequence[Tensor]]:
        """Loss and gradient of a step."""
        loss, gradients = forget.at(step)
        if retain is None:
            return float(loss), gradients
        away, others = retain.at(step)
        self._divergence = float(away)
        together = [one + self.retain * other for one, other in zip(gradients, others, strict=True)]
        return float(loss) + self.retain * self._divergence, together

    def describe(self) -> str:
        """How many steps it took, and how likely the new objects are."""
        return self._did or "Unlearn has not erased anything yet"

    def _weights(self, language_model: LanguageModel) -> list[nn.Parameter]:
        if not self._edited:
            raise ConfigError("Unlearn knows of no edit. Call its setup right after the edit.")
        if self.layers is None:
            return [named(language_model, name) for name in self._edited]
        language_model.check_layers(self.layers, "eraser.layers")
        return [projection_weight(language_model.output_projection(layer)) for layer in self.layers]

    def _kept(self, language_model: LanguageModel) -> KeptDistributions | None:
        """What the model says of the texts now, which it should go on to say."""
        if self.task is None:
            return None
        most = self.descent.steps * self.batch_size
        return KeptDistributions(
            language_model, task_rows(language_model, self.task, self._requests, most, self.seed), self.top
        )

    def _forget(self, language_model: LanguageModel, rows: Sequence[ScoredRow]) -> FactGradient:
        device = language_model.device
        then = mean_nll_in_batches(language_model, rows).to(device)
        lengths = torch.tensor([len(row.tokens) for row in rows], dtype=then.dtype, device=device)

        def loss(numbers: Sequence[int]) -> Tensor:
            chosen = list(numbers)
            nll_S = mean_nll(language_model, [rows[number] for number in chosen])
            return self.loss(nll_S, lengths[chosen], then[chosen])

        return self._gradient(language_model, len(rows), loss)

    def _gradient(self, language_model: LanguageModel, rows: int, loss: RowLoss) -> FactGradient:
        return FactGradient(language_model, rows, loss, self.batch_size, self.seed)


def mean_probability(language_model: LanguageModel, rows: Sequence[ScoredRow]) -> float:
    """The mean over rows of the probability of all their scored tokens together."""
    nll = mean_nll_in_batches(language_model, rows)
    lengths = torch.tensor([len(row.tokens) for row in rows], dtype=nll.dtype)
    return float((-nll * lengths).exp().mean())
