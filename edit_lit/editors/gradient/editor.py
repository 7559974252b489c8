"""The base classes of editors that train parameters on the edits' targets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from edit_lit.deltas import Part, Provenance, WeightPart
from edit_lit.deltas.updates import Dense, Update
from edit_lit.editors.base.constraints import UpdateConstraint
from edit_lit.editors.base.diagnostics import check_facts, listed
from edit_lit.editors.base.editor import Computation, Editor, check_prompts
from edit_lit.editors.base.layers import check_given_layers, layers_of
from edit_lit.editors.base.schedule import Schedule
from edit_lit.editors.base.weight_workspace import WeightWorkspace
from edit_lit.editors.gradient.training import TargetTraining
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import frozen
from edit_lit.language_model.scoring import ScoredRow
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.progress import progress

Batches = Sequence[Sequence[ScoredRow]]
"""The rows of each batch of facts, one row a fact."""


class TrainingEditor(Editor):
    """An editor that minimises the NLL of the targets; a subclass says on what rows and by which parameters.

    Args:
        layers: The layers to edit; the method's default for the model's depth if not given.
        training: The optimisation.
        schedule: Batches and paraphrases. Facts of a batch are trained together, batches one after another.
    """

    def __init__(self, layers: list[int] | None, training: TargetTraining, schedule: Schedule) -> None:
        check_given_layers(layers)
        if schedule.passes > 1:
            raise ConfigError(f"schedule.passes is {schedule.passes}; raise training.epochs instead.")
        self.layers = layers
        self.training = training
        self.schedule = schedule

    @abstractmethod
    def rows(self, language_model: LanguageModel, requests: Sequence[EditRequest]) -> list[ScoredRow]:
        """What is trained on, one row a request.

        Raises:
            ConfigError: If a target has no tokens; the message names the request.
        """

    @abstractmethod
    def default_layers(self, depth: int) -> list[int]:
        """The layers to edit in a model of this depth, if none are given."""

    @abstractmethod
    def train(self, language_model: LanguageModel, batches: Batches) -> tuple[Mapping[str, Update], list[float]]:
        """Train on one batch after another, and leave the model as it was.

        Args:
            language_model: A frozen model.
            batches: The rows of each batch.

        Returns:
            Updates by the names of the weights, and the loss of each fact when it was last seen.
        """

    def edited_layers(self, language_model: LanguageModel) -> list[int]:
        """The given layers, or the default ones for this depth."""
        return layers_of(language_model, self.layers, self.default_layers)

    def prepare(self, language_model: LanguageModel, requests: Sequence[EditRequest]) -> Computation:
        """Tokenise all requests in one call."""
        self.edited_layers(language_model)
        batches = self.schedule.batches(requests)
        written = [request for batch in batches for request in batch]
        rows = self.rows(language_model, written)
        check_prompts(language_model, written, [len(row.ids) for row in rows])
        left = iter(rows)
        return partial(self.compute, language_model, written, [list(islice(left, len(batch))) for batch in batches])

    def compute(
        self, language_model: LanguageModel, written: Sequence[EditRequest], batches: Batches, provenance: Provenance
    ) -> tuple[list[Part], dict[str, Any]]:
        """Train; the facts whose loss stayed above the stopping loss are named."""
        with frozen(language_model.model):
            updates, losses = self.train(language_model, batches)
        check_facts(written, torch.tensor(losses), "loss", "training.lr")
        unfinished = [
            request.name for request, loss in zip(written, losses, strict=True) if loss >= self.training.stop_loss
        ]
        diagnostics = {**listed("unfinished_targets", unfinished), "mean_loss": sum(losses) / len(losses)}
        return [WeightPart(updates)], diagnostics


class GradientEditor(TrainingEditor):
    """A training editor whose parameters are the MLP output projections of some layers.

    Args:
        layers: The layers to edit; the method's default for the model's depth if not given.
        training: The optimisation.
        constraint: Limits what is written; nothing does if not given.
        schedule: Batches and paraphrases. Facts of a batch are trained together, batches one after another.
    """

    max_change: float | None = None
    """Largest change of any entry of a weight, if there is a limit."""

    def __init__(
        self,
        layers: list[int] | None,
        training: TargetTraining,
        constraint: UpdateConstraint | None,
        schedule: Schedule,
    ) -> None:
        super().__init__(layers, training, schedule)
        self.constraint = constraint

    def default_layers(self, depth: int) -> list[int]:
        """The layer at two thirds of the depth, which is 21 of 32 as published for 32-layer models."""
        return [depth * 2 // 3]

    def train(self, language_model: LanguageModel, batches: Batches) -> tuple[Mapping[str, Update], list[float]]:
        """Train the output projections, each batch from the weights that the last one left."""
        layers = self.edited_layers(language_model)
        losses: list[float] = []
        with WeightWorkspace(language_model, layers, self.constraint) as weights:
            originals = [weights.parameter(layer).detach().clone() for layer in layers]
            for rows in progress(batches, "batches of facts", "batches"):
                losses += self._write(weights, layers, rows, originals)
            return weights.total(), losses

    def _write(
        self, weights: WeightWorkspace, layers: list[int], rows: Sequence[ScoredRow], originals: list[Tensor]
    ) -> list[float]:
        """Train on one batch and keep what has changed."""
        parameters = [weights.parameter(layer).requires_grad_() for layer in layers]

        def project(masters: Sequence[Tensor]) -> None:
            for master, original in zip(masters, originals, strict=True):
                if self.max_change is not None:
                    master.clamp_(original - self.max_change, original + self.max_change)

        masters, losses = self.training.run(weights.language_model, rows, parameters, project)
        for layer, parameter, master in zip(layers, parameters, masters, strict=True):
            parameter.requires_grad_(False)
            weights.add(layer, Dense(weights.oriented(layer, master).double() - weights.weight(layer)))
        return losses
