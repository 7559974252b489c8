"""RestoreWrites: the edited matrices answer to the edits' keys as they did right after the edit."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from edit_lit.activations.keys import KeyExtractor
from edit_lit.deltas import Delta
from edit_lit.deltas.swap import on_cpu, write_values
from edit_lit.facts.request import EditRequest
from edit_lit.guards.wordings import rows_one_by_one, with_paraphrases
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import evaluating
from edit_lit.language_model.module_tree import projection_weight
from edit_lit.rewriters.rewriter import Rewriter
from edit_lit.surgery.put_back import PutBack, own_projection, put_back, remembered
from edit_lit.surgery.written import check_bare, written_layers
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


class RestoreWrites(Rewriter):
    """Puts back what the edited matrices answered to the edits' keys, with the keys as they were right after the edit.

    W becomes W − (W Q − W_e Q) Qᵀ, with W_e the matrix right after the edit and Q an orthonormal basis of the keys:
    what :class:`~edit_lit.guards.hold.Hold` does behind each step, done once. It brings back an edit whose write was
    overwritten, and not one whose key has moved away.

    Args:
        paraphrases: So many paraphrases of each fact are written beside its own prompt.
        energy: The share of the keys' energy that counts, above 0; below 1 the answers are approximate.
    """

    label = "writes restored"
    cause = "overwritten"

    def __init__(self, paraphrases: int = 0, energy: float = 1.0) -> None:
        check_number("rewriter.paraphrases", paraphrases, least=0)
        check_number("rewriter.energy", energy, above=0, most=1)
        self.paraphrases = paraphrases
        self.energy = energy
        self._keys: dict[int, Tensor] = {}
        self._edited: dict[int, dict[str, Tensor]] = {}
        self._done: dict[int, PutBack] = {}

    def setup(self, language_model: LanguageModel, delta: Delta | None, requests: Sequence[EditRequest]) -> None:
        """Keep the edited matrices, on the CPU, and read the edits' keys."""
        layers = edited_layers(language_model, delta, "RestoreWrites")
        said = with_paraphrases(requests, self.paraphrases, "rewriter.paraphrases")
        with evaluating(language_model.model):
            reader = KeyExtractor(language_model, rows_one_by_one(language_model, said, ()), value_layer=layers[-1])
            self._keys = {layer: reader.read(layer).bare_keys for layer in layers}
        self._edited = {layer: remembered(own_projection(language_model, layer)) for layer in layers}
        self._done = {}

    def targets(self, language_model: LanguageModel) -> list[nn.Parameter]:
        """The edited matrices."""
        return [projection_weight(own_projection(language_model, layer)) for layer in self._edited]

    def rewrite(self, language_model: LanguageModel) -> list[str]:
        """Put the answers back."""
        if not self._edited:
            raise ConfigError("RestoreWrites knows of no edit. Call its setup right after the edit.")
        modules = {layer: own_projection(language_model, layer) for layer in self._edited}
        parameters = [parameter for module in modules.values() for parameter in module.parameters()]
        check_bare(language_model, parameters, "RestoreWrites")
        before = {parameter: on_cpu(parameter) for parameter in parameters}
        try:
            self._done = {
                layer: put_back(module, self._edited[layer], self._keys[layer].to(language_model.device), self.energy)
                for layer, module in modules.items()
            }
        except BaseException:
            write_values(before)
            raise
        return [language_model.parameter_name(parameter) for parameter in parameters]

    def describe(self) -> str:
        """By how much the answers were off in each layer."""
        off = ", ".join(f"layer {layer}: {done.moved:.3g}" for layer, done in self._done.items())
        return f"RestoreWrites put back the edited matrices' answers to the edits' keys, which were off by {off}"


def edited_layers(language_model: LanguageModel, delta: Delta | None, rewriter: str) -> list[int]:
    """The edited layers, lowest first.

    Raises:
        ConfigError: If there was no edit whose writes could be restored, or it is of another kind.
    """
    if delta is None:
        raise ConfigError(
            f"{rewriter} restores what an edit wrote, but the model was fine-tuned unedited. Use AddDelta or EditAgain."
        )
    return written_layers(language_model, delta, rewriter, "Use EditAgain.")
