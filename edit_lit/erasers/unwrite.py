"""Unwrite: the edited matrices answer to the edited facts' keys as the base model's did; the rest of them stays.

Shape legend: K keys, N inputs of a matrix.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from edit_lit.activations.keys import KeyExtractor
from edit_lit.activations.token_rows import SubjectRow
from edit_lit.deltas import Delta
from edit_lit.deltas.swap import on_cpu, write_values
from edit_lit.erasers.eraser import Eraser
from edit_lit.facts.request import EditRequest
from edit_lit.guards.wordings import check_contexts, rows_one_by_one, with_paraphrases
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import evaluating
from edit_lit.surgery.put_back import PutBack, own_projection, put_back, remembered
from edit_lit.surgery.written import check_bare, written_layers
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


class Unwrite(Eraser):
    """Puts the edited matrices' answers to the edited facts' keys back to the base model's, after any fine-tuning.

    W becomes W − (W Q − W_0 Q) Qᵀ, with W_0 the matrix before the edit and Q an orthonormal basis of the keys. So
    W k = W_0 k for every key, and W x stays what fine-tuning made of it for every x orthogonal to them. A bias that has
    changed since the edit counts as a further column of W, and each key ends in a 1.

    ``keys`` says which keys, and so what is promised. With ``now``, those of the model as it is, every edited matrix of
    the erased model answers to the edited prompts, at the subject's last token, with what the base model's would make
    of the same input: the layers are erased from the lowest up, each with the keys that reach it through the erased
    ones below. But what was written for the keys that the edit used is left there, for a key that moves back. With
    ``edit``, those right after the edit, just that is taken out; where fine-tuning has moved a key, the matrix still
    answers to it with a part of the edit. ``both`` promises both, and takes up to twice as many directions. None
    promises anything about what other layers learnt of the edit, or about other wordings unless they are asked for.

    Args:
        keys: Whose keys: of the model as it is (``now``), right after the edit (``edit``), or ``both``.
        paraphrases: So many paraphrases of each fact are unwritten beside its own prompt.
        contexts: Texts with one ``{}``; the prompts are unwritten inside each of them, too.
        energy: The share of the keys' energy that is unwritten, above 0; below 1 the promise is approximate.
    """

    def __init__(
        self,
        keys: Literal["both", "now", "edit"] = "both",
        paraphrases: int = 0,
        contexts: Sequence[str] = (),
        energy: float = 1.0,
    ) -> None:
        if keys not in ("both", "now", "edit"):
            raise ConfigError(f"eraser.keys is {keys!r}. Use both, now or edit.")
        check_number("eraser.paraphrases", paraphrases, least=0)
        check_number("eraser.energy", energy, above=0, most=1)
        check_contexts(contexts, "eraser.contexts")
        self.keys = keys
        self.paraphrases = paraphrases
        self.contexts = list(contexts)
        self.energy = energy
        self._rows: list[list[SubjectRow]] = []
        self._unedited: dict[int, dict[str, Tensor]] = {}
        self._keys_then: dict[int, Tensor] = {}
        self._erased: dict[int, PutBack] = {}

    def setup(self, language_model: LanguageModel, delta: Delta, requests: Sequence[EditRequest]) -> None:
        """Keep the matrices from before the edit, on the CPU, and read the keys of the edited model if they count."""
        layers = written_layers(language_model, delta, "Unwrite", "Use Undo.")
        said = with_paraphrases(requests, self.paraphrases, "eraser.paraphrases")
        self._rows = rows_one_by_one(language_model, said, self.contexts)
        self._erased, self._keys_then = {}, {}
        with delta.suspended(language_model):
            self._unedited = {layer: remembered(own_projection(language_model, layer)) for layer in layers}
        if self.keys != "now":
            with evaluating(language_model.model):
                reader = KeyExtractor(language_model, self._rows, value_layer=layers[-1])
                self._keys_then = {layer: reader.read(layer).bare_keys for layer in layers}

    def changes(self, language_model: LanguageModel) -> list[str]:
        """Weights and biases of the edited layers' MLP output projections."""
        return [language_model.parameter_name(parameter) for parameter in self._parameters(language_model)]

    @torch.no_grad()
    def erase(self, language_model: LanguageModel) -> None:
        """Put the answers back, from the lowest edited layer up.

        Raises:
            ConfigError: If there was no setup, an adapter is on an edited matrix, or the keys span all its inputs, so
                that nothing of its fine-tuning would be left.
        """
        parameters = self._parameters(language_model)
        check_bare(language_model, parameters, "Unwrite")
        before, self._erased = {parameter: on_cpu(parameter) for parameter in parameters}, {}
        try:
            with evaluating(language_model.model):
                self._from_below(language_model)
        except BaseException:
            write_values(before)
            raise
        large = [layer for layer, erased in self._erased.items() if 4 * erased.rank > erased.inputs]
        if large:
            warnings.warn(
                f"Unwrite takes more than a quarter of the inputs of layers {large}, and with them what fine-tuning "
                "made of these. Lower eraser.energy or eraser.paraphrases, or set eraser.keys to now.",
                stacklevel=2,
            )

    def describe(self) -> str:
        """How many directions it took of each matrix, and how far the answers were off."""
        parts = [
            f"layer {layer}: {erased.rank} of {erased.inputs} input directions, answers off by {erased.moved:.2f}"
            for layer, erased in self._erased.items()
        ]
        return (
            "Unwrite put back what the edited matrices of the base model answer to the edits' keys "
            f"({'; '.join(parts)} of their norm)"
        )

    def _from_below(self, language_model: LanguageModel) -> None:
        """Read the keys of each layer with those below erased, and erase it."""
        layers = sorted(self._unedited)
        reader = KeyExtractor(language_model, self._rows, value_layer=layers[-1]) if self.keys != "edit" else None
        for layer in layers:
            keys = [self._keys_then[layer].to(language_model.device)] if self._keys_then else []
            if reader is not None:
                reader.advance(layer - 1)
                keys.append(reader.read(layer).bare_keys)
            self._erased[layer] = self._answered_again(language_model, layer, torch.cat(keys))

    def _answered_again(self, language_model: LanguageModel, layer: int, keys_KN: Tensor) -> PutBack:
        try:
            return put_back(own_projection(language_model, layer), self._unedited[layer], keys_KN, self.energy)
        except ConfigError as error:
            raise ConfigError(
                f"the {len(keys_KN)} keys span all inputs of the matrix of layer {layer}, so that Unwrite would leave "
                "nothing of its fine-tuning. Lower eraser.energy or eraser.paraphrases, set eraser.keys to now, or "
                "erase fewer facts."
            ) from error

    def _parameters(self, language_model: LanguageModel) -> list[nn.Parameter]:
        if not self._unedited:
            raise ConfigError("Unwrite knows of no edit. Call its setup right after the edit.")
        modules = [own_projection(language_model, layer) for layer in sorted(self._unedited)]
        return [parameter for module in modules for parameter in module.parameters()]
