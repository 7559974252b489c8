"""Hold: fine-tuning may not change what the edited matrices answer to the edited facts' keys."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from edit_lit.activations.keys import KeyExtractor
from edit_lit.deltas import Delta, WeightPart
from edit_lit.facts.request import EditRequest
from edit_lit.guards.held_writes import HeldWrites, check_beginning, protected, trains
from edit_lit.guards.wordings import check_contexts, rows_one_by_one, with_paraphrases
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import evaluating
from edit_lit.language_model.module_tree import projection_weight
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


class Hold(HeldWrites):
    """Keeps the edited matrices' answers to the edited facts' keys as the edit made them.

    Orthogonal weight modification (Zeng et al., arXiv 1810.01256) and gradient projection memory (Saha et al.,
    2103.09762) narrowed to the keys of the edits: the gradients' part along the keys is taken off before clipping, and
    the answers are restored behind each step, since optimizers with elementwise scaling such as Adam leak otherwise. So
    it is exact, to the rounding of the weights, for any optimizer, decay and clipping.

    Where an edited matrix wears LoRA, the first matrix A of the adapter B A is kept from answering to the keys at all,
    as InfLoRA (Liang and Li, 2404.00228) does once at its start: A k = 0, and so the adapter leaves W k alone.

    It keeps the write, and nothing else: where the keys drift, because layers below train, or layers above read the
    write otherwise, the edit can be lost all the same. ``explain`` says which of the three it is.

    Args:
        paraphrases: So many paraphrases of each fact are protected beside its own prompt.
        contexts: Texts with one ``{}``; the prompts are protected inside each of them, too.
        energy: The share of the keys' energy that is protected, above 0; 1 for all of it.
    """

    def __init__(self, paraphrases: int = 0, contexts: Sequence[str] = (), energy: float = 1.0) -> None:
        super().__init__()
        check_number("guards.use.paraphrases", paraphrases, least=0)
        check_number("guards.use.energy", energy, above=0, most=1)
        check_contexts(contexts, "guards.use.contexts")
        self.paraphrases = paraphrases
        self.contexts = list(contexts)
        self.energy = energy

    def setup(self, language_model: LanguageModel, delta: Delta | None, requests: Sequence[EditRequest]) -> None:
        """Read the keys at every edited layer that trains, and what its matrix answers to them."""
        layers = _held_layers(language_model, delta)
        said = with_paraphrases(requests, self.paraphrases, "guards.use.paraphrases")
        rows = rows_one_by_one(language_model, said, self.contexts)
        self.writes = {}
        with evaluating(language_model.model):
            reader = KeyExtractor(language_model, rows, value_layer=max(layers))
            for layer in layers:
                module, keys_KN = language_model.output_projection(layer), reader.read(layer).bare_keys
                self.writes[f"layer {layer}"] = protected(f"layer {layer}", module, keys_KN, self.energy)
        large = [name for name, write in self.writes.items() if 4 * write.rank > write.inputs]
        if large:
            warnings.warn(
                f"Hold protects more than a quarter of the inputs of {', '.join(large)}, which training will feel. "
                "Lower guards.use.energy, or protect fewer prompts.",
                stacklevel=2,
            )

    def describe(self) -> str:
        """How many directions of how many are protected in each layer."""
        ranks = ", ".join(f"{name}: {write.rank} of {write.inputs}" for name, write in self.writes.items())
        return f"Hold keeps the edited matrices' answers to the edits' keys ({ranks} input directions)"


def _held_layers(language_model: LanguageModel, delta: Delta | None) -> list[int]:
    """The edited layers whose matrix trains, or wears an adapter.

    Raises:
        ConfigError: If there is no edit, it changes something else than MLP output projections, or none of them trains.
    """
    if delta is None:
        raise ConfigError("Hold keeps what an edit wrote, but the run edits nothing. Leave it out.")
    if not all(isinstance(part, WeightPart) for part in delta.parts):
        raise ConfigError("Hold keeps what edited matrices write, but this edit adds modules. Leave it out.")
    modules = {layer: language_model.output_projection(layer) for layer in delta.layers}
    names = {language_model.parameter_name(projection_weight(module)) for module in modules.values()}
    others = sorted(delta.updates.keys() - names)
    if others:
        raise ConfigError(
            f"Hold keeps what MLP output projections write, but the edit changes {others[0]}, too. Leave it out, or "
            "edit with another editor."
        )
    check_beginning(language_model.model)
    held = [layer for layer, module in modules.items() if trains(module)]
    if not held:
        raise ConfigError(
            f"Hold would do nothing: none of the edited matrices (layers {list(delta.layers)}) trains. Leave it out."
        )
    return held
