"""Locate-then-edit: target values first, then a closed-form update of each layer on the way to them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from edit_lit import distributed
from edit_lit.editors.contexts import Contexts
from edit_lit.editors.delta import Delta, LowRank
from edit_lit.editors.editor import Editor
from edit_lit.editors.keys import KeyStream
from edit_lit.editors.moments import SecondMoments, Spectrum
from edit_lit.editors.prompts import SubjectRow, prompt_rows, statement_rows
from edit_lit.editors.solver import InverseMoment, solve_update
from edit_lit.editors.target_values import OptimisedValues, TargetValues
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel, base_layer, projection_weight
from edit_lit.tracing import frozen


class ClosedFormEditor(Editor):
    """The parts that closed-form editors share; a subclass names its preconditioner.

    Args:
        layers: The layers to edit, lowest first. If not given: those from an eighth to a quarter of the depth,
            which is 4 to 8 of 32 as published for Llama-sized models.
        target_values: How target hidden states are found.
        contexts: Texts in front of the prompts.
        moments: Second moments of the keys to preserve.
    """

    def __init__(
        self,
        layers: list[int] | None = None,
        target_values: TargetValues = TargetValues(),
        contexts: Contexts = Contexts(),
        moments: SecondMoments = SecondMoments(),
    ) -> None:
        if layers is not None and (not layers or layers != sorted(set(layers))):
            raise ValueError(f"layers is {layers}; name at least one layer, each once, in ascending order.")
        self.layers = layers
        self.target_values = target_values
        self.contexts = contexts
        self.moments = moments

    @abstractmethod
    def preconditioner(self, spectrum: Spectrum) -> InverseMoment:
        """The preconditioner A of a layer."""

    def edited_layers(self, language_model: LanguageModel) -> list[int]:
        """The given layers, or the default ones for this depth."""
        depth = len(language_model.blocks)
        layers = self.layers if self.layers is not None else list(range(depth // 8, depth // 4 + 1))
        language_model.check_layers(layers, "layers")
        return layers

    def edit(self, language_model: LanguageModel, requests: Sequence[EditRequest]) -> Delta:
        """See :meth:`Editor.edit`."""
        if not requests:
            raise ValueError("there are no edit requests. Name at least one fact to edit.")
        layers = self.edited_layers(language_model)
        for layer in layers:
            language_model.output_projection(layer)
        # Tokenising everything first refuses a bad request before anything is computed.
        prompt_rows(language_model.tokenizer, requests, ["{}"])
        essences = statement_rows(language_model.tokenizer, requests, self.target_values.essence)
        with frozen(language_model.model):
            contexts = distributed.from_first_process(self.contexts.load(language_model))
            prompts = prompt_rows(language_model.tokenizer, requests, contexts)
            spectra = self.moments.spectra(language_model, layers)
            targets = self.target_values.optimise(language_model, layers[-1], prompts, essences)
            updates = self._spread(language_model, prompts, targets.values, spectra)
        provenance = self.provenance(language_model, requests)
        health = _health(requests, targets, {layer: self.preconditioner(spectra[layer]) for layer in layers})
        return distributed.from_first_process(Delta(updates, replace(provenance, health=health)))

    @torch.no_grad()
    def _spread(
        self,
        language_model: LanguageModel,
        prompts: Sequence[Sequence[SubjectRow]],
        targets_FD: Tensor,
        spectra: dict[int, Spectrum],
    ) -> dict[str, LowRank]:
        """Write the targets layer by layer; each layer takes an equal share of what is still missing."""
        layers = list(spectra)
        stream = KeyStream(language_model, prompts, value_layer=layers[-1])
        updates: dict[str, LowRank] = {}
        originals: list[tuple[torch.nn.Parameter, Tensor]] = []
        try:
            for place, layer in enumerate(layers):
                stream.advance(layer - 1)
                keys_FN, values_FD = stream.read(layer)
                residuals_FD = (targets_FD.double() - values_FD) / (len(layers) - place)
                left, right = solve_update(self.preconditioner(spectra[layer]), keys_FN.T, residuals_FD.T)
                module = base_layer(language_model.output_projection(layer))
                update = LowRank(right, left) if isinstance(module, Conv1D) else LowRank(left, right)
                weight = projection_weight(module)
                updates[language_model.parameter_name(weight)] = _in_float32(update)
                originals.append((weight, weight.detach().clone()))
                weight.copy_(weight.double() + update.dense())
        finally:
            for parameter, original in originals:
                parameter.copy_(original)
        return updates


def _in_float32(update: LowRank) -> LowRank:
    return LowRank(update.left.float().cpu(), update.right.float().cpu())


def _health(
    requests: Sequence[EditRequest], targets: OptimisedValues, preconditioners: dict[int, InverseMoment]
) -> dict[str, Any]:
    """What a reader of the edit should know about how well it went."""
    return {
        "unfinished_targets": [
            request.name for request, open_ in zip(requests, targets.unfinished, strict=True) if open_
        ],
        "mean_steps": float(targets.steps.double().mean()),
        "condition": {str(layer): matrix.condition for layer, matrix in preconditioners.items()},
    }
