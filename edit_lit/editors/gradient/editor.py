"""Editing by fine-tuning: what FT-L, FT-M and LocFT-BF share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor
from tqdm.auto import tqdm

from edit_lit import distributed
from edit_lit.deltas.delta import Delta
from edit_lit.deltas.updates import Dense
from edit_lit.editors.base.constraints import UpdateConstraint
from edit_lit.editors.base.diagnostics import listed
from edit_lit.editors.base.editor import Editor
from edit_lit.editors.base.schedule import Schedule
from edit_lit.editors.base.weight_workspace import WeightWorkspace
from edit_lit.editors.gradient.training import TargetTraining
from edit_lit.errors import ConfigError
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import frozen
from edit_lit.language_model.scoring import ScoredRow


class GradientEditor(Editor):
    """The parts that editors by fine-tuning share: they train MLP output projections on the targets.

    Args:
        layers: The layers to edit; the method's default for the model's depth if not given.
        training: The descent.
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
        if layers is not None and (not layers or layers != sorted(set(layers))):
            raise ConfigError(f"layers is {layers}; name at least one layer, each once, in ascending order.")
        if schedule.passes > 1:
            raise ConfigError(f"schedule.passes is {schedule.passes}; raise training.epochs instead.")
        self.layers = layers
        self.training = training
        self.constraint = constraint
        self.schedule = schedule

    @abstractmethod
    def rows(self, language_model: LanguageModel, requests: Sequence[EditRequest]) -> list[ScoredRow]:
        """What is trained on."""

    def default_layers(self, depth: int) -> list[int]:
        """The layer at two thirds of the depth, which is 21 of 32 as published for 32-layer models."""
        return [depth * 2 // 3]

    def edited_layers(self, language_model: LanguageModel) -> list[int]:
        """The given layers, or the default one for this depth."""
        layers = self.layers if self.layers is not None else self.default_layers(len(language_model.blocks))
        language_model.check_layers(layers, "layers")
        return layers

    def edit(self, language_model: LanguageModel, requests: Sequence[EditRequest]) -> Delta:
        """See :meth:`Editor.edit`."""
        if not requests:
            raise ConfigError("there are no edit requests. Name at least one fact to edit.")
        layers = self.edited_layers(language_model)
        batches = self.schedule.batches(requests)
        rows = [self.rows(language_model, batch) for batch in batches]
        losses: dict[str, float] = {}
        with frozen(language_model.model), WeightWorkspace(language_model, layers, self.constraint) as weights:
            originals = [weights.parameter(layer).detach().clone() for layer in layers]
            hidden = distributed.rank() > 0
            for batch, batch_rows in tqdm(
                list(zip(batches, rows, strict=True)), desc="batches of facts", unit="batch", disable=hidden
            ):
                found = self._write(weights, layers, batch_rows, originals)
                losses |= {request.name: loss for request, loss in zip(batch, found, strict=True)}
            updates = weights.total()
        unfinished = [name for name, loss in losses.items() if loss >= self.training.stop_loss]
        diagnostics = {**listed("unfinished_targets", unfinished), "mean_loss": sum(losses.values()) / len(losses)}
        provenance = replace(self.provenance(language_model, requests), diagnostics=diagnostics)
        return distributed.from_first_process(Delta(updates, provenance))

    def _write(
        self, weights: WeightWorkspace, layers: list[int], rows: list[ScoredRow], originals: list[Tensor]
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
