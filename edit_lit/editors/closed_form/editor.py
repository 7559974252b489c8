"""Locate-then-edit: target values first, then a closed-form update of each edited layer.

Shape legend: F facts, B facts of a batch, N size of the MLP, D hidden size.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from edit_lit.activations.contexts import Contexts
from edit_lit.activations.hook_points import BlockOutput, HookPoint
from edit_lit.activations.keys import KeyExtractor, KeysAndValues
from edit_lit.activations.token_rows import SubjectRow
from edit_lit.deltas import Part, Provenance, WeightPart
from edit_lit.deltas.updates import LowRank
from edit_lit.editors.base.constraints import UpdateConstraint
from edit_lit.editors.base.diagnostics import Diagnostics, check_facts, warn_of_shared_subjects
from edit_lit.editors.base.editor import Computation, Editor, check_prompts
from edit_lit.editors.base.layers import check_given_layers, layers_of
from edit_lit.editors.base.schedule import Schedule
from edit_lit.editors.base.weight_workspace import WeightWorkspace
from edit_lit.editors.closed_form.accumulated import Accumulated
from edit_lit.editors.closed_form.key_covariance import KeyCovariance, Spectrum
from edit_lit.editors.closed_form.preconditioners import Preconditioner, warn_of_unresolved_directions
from edit_lit.editors.closed_form.solver import solve_update
from edit_lit.editors.closed_form.tokenized import TokenizedBatch
from edit_lit.editors.targets.options import TargetValues
from edit_lit.editors.targets.perplexity import target_perplexity
from edit_lit.editors.targets.search import find_target_values
from edit_lit.facts.request import SUBJECT_SLOT, EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import frozen
from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.finite import check_finite
from edit_lit.utilities.progress import progress

log = logging.getLogger(__name__)


class ClosedFormEditor(Editor):
    """The parts that closed-form editors share; a subclass names its preconditioner and what else it does otherwise.

    Args:
        layers: The layers to edit, lowest first; the method's default for the model's depth if not given.
        target_values: How target hidden states are found.
        contexts: Texts in front of the prompts.
        key_covariance: Second moments of the keys to preserve.
        constraint: Limits what is written; nothing does if not given.
        schedule: Batches and passes.
    """

    hook_point: ClassVar[HookPoint] = BlockOutput()
    """The module at the last edited layer whose output the target values replace."""

    accumulates: ClassVar[bool] = False
    """Whether a batch's keys join the preserved ones, as in sequential methods."""

    def __init__(
        self,
        layers: list[int] | None,
        target_values: TargetValues,
        contexts: Contexts,
        key_covariance: KeyCovariance,
        constraint: UpdateConstraint | None,
        schedule: Schedule,
    ) -> None:
        check_given_layers(layers)
        if (
            target_values.correct_without_bare
            and contexts.templates is not None
            and set(contexts.templates) <= {SUBJECT_SLOT}
        ):
            raise ConfigError(
                "target_values.correct_without_bare is set, but contexts.templates has the bare prompt only. Add a "
                "template, or unset it."
            )
        self.layers = layers
        self.target_values = target_values
        self.contexts = contexts
        self.key_covariance = key_covariance
        self.constraint = constraint
        self.schedule = schedule

    @abstractmethod
    def preconditioner(self, spectrum: Spectrum) -> Preconditioner:
        """The preconditioner A of a layer, before any keys are accumulated."""

    def preconditioners(
        self, language_model: LanguageModel, layers: Sequence[int], provenance: Provenance
    ) -> Mapping[int, Preconditioner]:
        """The preconditioner of each layer."""
        spectra = self.key_covariance.spectra(language_model, layers, provenance.key_of("key_covariance"))
        return {layer: self.preconditioner(spectra[layer]) for layer in layers}

    def residual_fraction(self, layers_left: int) -> float:
        """The fraction of the residual that a layer writes, with so many layers left, itself included."""
        return 1.0 / layers_left

    def solve(
        self, preconditioner: Preconditioner, reading: KeysAndValues, targets_FD: Tensor, weight_DN: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Factors left [D, F] and right [N, F] of the update that writes the whole residual at one layer."""
        return solve_update(preconditioner, reading.keys.T, (targets_FD - reading.values).T)

    def batches(self, requests: Sequence[EditRequest]) -> list[list[EditRequest]]:
        """The requests in the portions in which they are written."""
        return self.schedule.batches(requests)

    def default_layers(self, depth: int) -> list[int]:
        """From an eighth to a quarter of the depth, which is 4 to 8 of 32 as published for Llama-sized models."""
        return list(range(depth // 8, depth // 4 + 1))

    def edited_layers(self, language_model: LanguageModel) -> list[int]:
        """The given layers, or the default ones for this depth."""
        return layers_of(language_model, self.layers, self.default_layers)

    def prepare(self, language_model: LanguageModel, requests: Sequence[EditRequest]) -> Computation:
        """Find the modules of every layer and tokenise every request."""
        for layer in self.edited_layers(language_model):
            self.hook_point.modules(language_model, layer)
            language_model.output_projection(layer)
        tokenizer, options = language_model.tokenizer, self.target_values
        batches = [TokenizedBatch.bare(tokenizer, batch, options) for batch in self.batches(requests)]
        check_prompts(
            language_model,
            [said for batch in batches for said in batch.requests],
            [length for batch in batches for length in batch.lengths],
            self.contexts.longest(language_model),
        )
        if "key_covariance" not in self.ignored_options:
            self.key_covariance.text.check()
        return partial(self.compute, language_model, requests, batches)

    def compute(
        self,
        language_model: LanguageModel,
        requests: Sequence[EditRequest],
        batches: Sequence[TokenizedBatch],
        provenance: Provenance,
    ) -> tuple[list[Part], dict[str, Any]]:
        """Target values first, then a closed-form update of each layer; batch after batch."""
        layers, tokenizer = list(provenance.layers), language_model.tokenizer
        with frozen(language_model.model):
            contexts = distributed.from_first_process(self.contexts.load(language_model))
            preconditioners = self.preconditioners(language_model, layers, provenance)
            warn_of_unresolved_directions(preconditioners)
            diagnostics = Diagnostics({layer: matrix.condition for layer, matrix in preconditioners.items()})
            if self.accumulates:
                preconditioners = {layer: Accumulated(matrix) for layer, matrix in preconditioners.items()}
            usual_norm = self._usual_norm(language_model, requests, batches, layers[-1])
            with WeightWorkspace(language_model, layers, self.constraint) as weights:
                # One batch has the target values' bar already.
                for batch in progress(batches, "batches of facts", "batches", hidden=len(batches) == 1):
                    diagnostics.note_shared_subjects(batch.requests)
                    whole = batch.inside(tokenizer, contexts, self.contexts.seed)
                    self._write(weights, preconditioners, whole, diagnostics, usual_norm)
                updates = weights.total()
        summary = diagnostics.summary()
        warn_of_shared_subjects(summary)
        return [WeightPart(updates)], summary

    def _usual_norm(
        self,
        language_model: LanguageModel,
        requests: Sequence[EditRequest],
        batches: Sequence[TokenizedBatch],
        layer: int,
    ) -> float:
        """The length to which target values are scaled, if they are; taken from the unedited model."""
        anchor = self.target_values.norm_anchor
        if anchor is None:
            return 0.0
        bare = {
            (said.prompt, said.subject): rows
            for batch in batches
            for said, rows in zip(batch.requests, batch.prompts, strict=True)
        }
        prompts = [bare[request.prompt, request.subject] for request in requests]
        return anchor.usual_norm(language_model, prompts, layer)

    def _write(
        self,
        weights: WeightWorkspace,
        preconditioners: Mapping[int, Preconditioner],
        batch: TokenizedBatch,
        diagnostics: Diagnostics,
        usual_norm: float,
    ) -> None:
        """Write one batch in as many passes as the schedule wants, then accumulate its keys."""
        language_model, last = weights.language_model, max(preconditioners)
        for number in range(1, self.schedule.passes + 1):
            found = find_target_values(
                self.target_values, language_model, last, batch.scored, batch.kl_anchors, self.hook_point, batch.old
            )
            check_facts(batch.requests, found.values, "target value", "target_values.lr")
            check_facts(batch.requests, found.losses, "loss", "target_values.lr")
            targets_FD, anchor = found.values, self.target_values.norm_anchor
            if anchor is not None:
                targets_FD = anchor.anchored(
                    language_model, batch.prompts, last, self.hook_point, targets_FD, usual_norm
                )
            keys_FN = self._distribute(weights, preconditioners, batch.prompts, targets_FD)
            if self.schedule.passes > 1:
                spread = target_perplexity(language_model, batch.scored)
                optimised = float(found.nll.exp().mean())
                log.info("pass %d: perplexity of the targets %.2f, %.2f aimed at", number, spread, optimised)
                if self.schedule.stop_gap is not None and abs(spread - optimised) <= self.schedule.stop_gap:
                    break
        diagnostics.note(batch.requests, found)
        for layer, matrix in preconditioners.items():
            if isinstance(matrix, Accumulated):
                matrix.accumulate(keys_FN[layer].T)

    @torch.no_grad()
    def _distribute(
        self,
        weights: WeightWorkspace,
        preconditioners: Mapping[int, Preconditioner],
        prompts: Sequence[Sequence[SubjectRow]],
        targets_FD: Tensor,
    ) -> dict[int, Tensor]:
        """Distribute the residuals over the layers: each layer writes its fraction of what is still missing.

        Returns:
            The keys at each layer, if they are to be accumulated. A key does not depend on its own layer's weight, so
            they hold after the edit too.
        """
        layers = list(preconditioners)
        stream = KeyExtractor(
            weights.language_model,
            prompts,
            value_layer=layers[-1],
            uniform_weights=self.contexts.uniform_weights,
            hook_point=self.hook_point,
        )
        keys_FN: dict[int, Tensor] = {}
        for place, layer in enumerate(layers):
            stream.advance(layer - 1)
            reading = stream.read(layer)
            check_finite(reading.keys, f"a fact's key at layer {layer}", "Load the model with dtype float32.")
            left, right = self.solve(preconditioners[layer], reading, targets_FD.double(), weights.weight(layer))
            weights.add(layer, LowRank(left * self.residual_fraction(len(layers) - place), right))
            if self.accumulates:
                keys_FN[layer] = reading.keys
            del reading  # Of thousands of facts, not to be held beside the next layer's.
        return keys_FN
