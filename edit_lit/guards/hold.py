"""Hold: fine-tuning may not change what the edited matrices answer to the edited facts' keys."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from edit_lit.activations.keys import KeyExtractor
from edit_lit.activations.token_rows import prompt_rows
from edit_lit.deltas import Delta, WeightPart
from edit_lit.editors.base.schedule import Schedule
from edit_lit.facts.request import SUBJECT_SLOT, EditRequest
from edit_lit.guards.guard import Guard
from edit_lit.guards.protected_write import ProtectedWrite
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import evaluating
from edit_lit.language_model.module_tree import projection_weight
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


class Hold(Guard):
    """Keeps the edited matrices' answers to the edited facts' keys as the edit made them.

    Orthogonal weight modification (Zeng et al., arXiv 1810.01256) and gradient projection memory (Saha et al.,
    2103.09762) narrowed to the keys of the edits: the gradients' part along the keys is taken off before clipping, and
    the answers are restored behind each step, since optimizers with elementwise scaling such as Adam leak otherwise. So
    it is exact, to the rounding of the weights, for any optimizer, decay and clipping.

    It keeps the write, and nothing else: where the keys drift, because layers below train, or layers above read the
    write otherwise, the edit can be lost all the same. ``explain`` says which of the three it is.

    Args:
        paraphrases: So many paraphrases of each fact are protected beside its own prompt.
        contexts: Texts with one ``{}``; the prompts are protected inside each of them, too.
        energy: The share of the keys' energy that is protected, above 0; 1 for all of it.
    """

    def __init__(self, paraphrases: int = 0, contexts: Sequence[str] = (), energy: float = 1.0) -> None:
        check_number("guards.use.paraphrases", paraphrases, least=0)
        check_number("guards.use.energy", energy, above=0, most=1)
        for context in contexts:
            if context.count(SUBJECT_SLOT) != 1:
                raise ConfigError(f"guards.use.contexts holds {context!r}. Write one '{{}}' where the prompt stands.")
        self.paraphrases = paraphrases
        self.contexts = list(contexts)
        self.energy = energy
        self._writes: dict[int, ProtectedWrite] = {}

    def setup(self, language_model: LanguageModel, delta: Delta, requests: Sequence[EditRequest]) -> None:
        """Read the keys at every edited layer that trains, and what its matrix answers to them."""
        layers = _held_layers(language_model, delta)
        said = [request for batch in Schedule(paraphrases=self.paraphrases).batches(requests) for request in batch]
        rows = prompt_rows(language_model.tokenizer, said, [SUBJECT_SLOT, *self.contexts])
        alone = [[row] for of_request in rows for row in of_request]
        self._writes = {}
        with evaluating(language_model.model):
            reader = KeyExtractor(language_model, alone, value_layer=max(layers))
            for layer in layers:
                module, keys_KN = language_model.output_projection(layer), reader.read(layer).bare_keys
                self._writes[layer] = ProtectedWrite(module, keys_KN, self.energy)
        large = [layer for layer, write in self._writes.items() if 4 * write.rank > write.inputs]
        if large:
            warnings.warn(
                f"Hold protects more than a quarter of the inputs of layers {large}, which training will feel. Lower "
                "guards.use.energy, or protect fewer prompts.",
                stacklevel=2,
            )

    def before_step(self) -> None:
        """Take the part along the keys off the gradients."""
        for write in self._writes.values():
            write.project_gradient()

    def after_step(self) -> None:
        """Bring the answers to the keys back."""
        for write in self._writes.values():
            write.restore()

    def describe(self) -> str:
        """How many directions of how many are protected in each layer."""
        ranks = ", ".join(f"layer {layer}: {write.rank} of {write.inputs}" for layer, write in self._writes.items())
        return f"Hold keeps the edited matrices' answers to the edits' keys ({ranks} input directions)"

    def measures(self) -> Mapping[str, Tensor]:
        """By what share of their norm the answers moved in the last step, and are off behind it: means over layers."""
        writes = self._writes.values()
        moved, off = torch.stack([write.moved for write in writes]), torch.stack([write.off() for write in writes])
        return {"write_moved": moved.mean(), "write_off": off.mean()}


def _held_layers(language_model: LanguageModel, delta: Delta) -> list[int]:
    """The edited layers whose matrix trains.

    Raises:
        ConfigError: If the edit changes something else than MLP output projections, an adapter is on one, or none
            trains.
    """
    if not all(isinstance(part, WeightPart) for part in delta.parts):
        raise ConfigError("Hold keeps what edited matrices write, but this edit adds modules. Leave it out.")
    names = {
        layer: language_model.parameter_name(projection_weight(language_model.output_projection(layer)))
        for layer in delta.layers
    }
    others = sorted(delta.updates.keys() - set(names.values()))
    if others:
        raise ConfigError(
            f"Hold keeps what MLP output projections write, but the edit changes {others[0]}, too. Leave it out, or "
            "edit with another editor."
        )
    worn = [layer for layer in delta.layers if isinstance(language_model.output_projection(layer), BaseTunerLayer)]
    if worn:
        raise ConfigError(
            f"Hold keeps edited matrices that train, but layers {worn} wear an adapter there, which it cannot hold. "
            "Let the adapter leave them out (tuning.modules), or train with FullTuning."
        )
    held = [layer for layer in names if projection_weight(language_model.output_projection(layer)).requires_grad]
    if not held:
        raise ConfigError(
            f"Hold would do nothing: none of the edited matrices (layers {list(delta.layers)}) trains. Leave it out."
        )
    return held
