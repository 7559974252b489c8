"""RestoreValues: the edited matrices answer to the edits' keys of today what they answered to those of then.

Shape legend: K keys, N inputs and O outputs of a matrix, R directions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edit_lit.activations.keys import KeyExtractor
from edit_lit.activations.token_rows import SubjectRow
from edit_lit.deltas import Delta
from edit_lit.deltas.swap import on_cpu, write_values
from edit_lit.facts.request import EditRequest
from edit_lit.guards.key_values import answers_to, keys_upwards
from edit_lit.guards.protected_write import smallest_change
from edit_lit.guards.wordings import rows_one_by_one, with_paraphrases
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import evaluating
from edit_lit.language_model.module_tree import as_linear, projection_weight
from edit_lit.rewriters.restore_writes import edited_layers
from edit_lit.rewriters.rewriter import Rewriter
from edit_lit.surgery.put_back import own_projection
from edit_lit.surgery.written import check_bare
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


class RestoreValues(Rewriter):
    """Has the edited matrices answer to the edits' keys, as they are now, what they answered right after the edit.

    With v = W_e k_e of each prompt from then and its key k of today, W becomes the nearest matrix, in the sum of
    squares, with W k = v. Layers go from the lowest up, each with the keys that reach it through those below. So it
    brings back an edit whose key has moved, as far as what else reads the value has not.

    Args:
        paraphrases: So many paraphrases of each fact are written beside its own prompt.
        energy: The share of the keys' energy that counts, above 0; below 1 the answers are approximate, and keys that
            are nearly the same ask for no large weights.
    """

    label = "values restored"
    cause = "key moved"

    def __init__(self, paraphrases: int = 0, energy: float = 1.0) -> None:
        check_number("rewriter.paraphrases", paraphrases, least=0)
        check_number("rewriter.energy", energy, above=0, most=1)
        self.paraphrases = paraphrases
        self.energy = energy
        self._rows: list[list[SubjectRow]] = []
        self._values: dict[int, Tensor] = {}
        self._off: dict[int, float] = {}

    def setup(self, language_model: LanguageModel, delta: Delta | None, requests: Sequence[EditRequest]) -> None:
        """Read what the edited matrices answer to the edits' prompts."""
        layers = edited_layers(language_model, delta, "RestoreValues")
        self._rows = rows_one_by_one(
            language_model, with_paraphrases(requests, self.paraphrases, "rewriter.paraphrases"), ()
        )
        self._off = {}
        with evaluating(language_model.model):
            reader = KeyExtractor(language_model, self._rows, value_layer=layers[-1])
            self._values = {
                layer: answers_to(own_projection(language_model, layer), reader.read(layer).bare_keys)
                for layer in layers
            }

    def targets(self, language_model: LanguageModel) -> list[nn.Parameter]:
        """The edited matrices."""
        return [projection_weight(own_projection(language_model, layer)) for layer in self._values]

    @torch.no_grad()
    def rewrite(self, language_model: LanguageModel) -> list[str]:
        """Write the values for the keys as they are now, from the lowest edited layer up."""
        if not self._values:
            raise ConfigError("RestoreValues knows of no edit. Call its setup right after the edit.")
        layers = sorted(self._values)
        weights = {layer: projection_weight(own_projection(language_model, layer)) for layer in layers}
        check_bare(language_model, weights.values(), "RestoreValues")
        before = {weight: on_cpu(weight) for weight in weights.values()}
        try:
            with evaluating(language_model.model):
                for layer, keys_KN in keys_upwards(language_model, self._rows, layers):
                    self._write(layer, own_projection(language_model, layer), keys_KN)
        except BaseException:
            write_values(before)
            raise
        return [language_model.parameter_name(weight) for weight in weights.values()]

    def _write(self, layer: int, module: nn.Module, keys_KN: Tensor) -> None:
        """Write one layer's values, in float64, rounded once."""
        wanted_KO = self._values[layer].to(keys_KN.device)
        short_KO = wanted_KO - answers_to(module, keys_KN)
        self._off[layer] = float(short_KO.norm() / wanted_KO.norm())
        basis_NR, along_RO = smallest_change(keys_KN, short_KO, self.energy)
        weight = projection_weight(module)
        matrix_ON = as_linear(module, weight)
        matrix_ON.copy_(matrix_ON.double() + (basis_NR @ along_RO).T)

    def describe(self) -> str:
        """By how much the values were off in each layer."""
        off = ", ".join(f"layer {layer}: {share:.3g}" for layer, share in self._off.items())
        return f"RestoreValues wrote the edits' values for the keys of today, which were off by {off} of their norm"
