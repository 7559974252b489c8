"""Hold: fine-tuning may not change what the edited matrices answer to the edited facts' keys."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from torch import Tensor

from edit_lit.activations.keys import KeyExtractor
from edit_lit.deltas import Delta, WeightPart
from edit_lit.editors import KeyCovariance
from edit_lit.editors.closed_form.preconditioners import InverseCovariance, Preconditioner
from edit_lit.facts.request import EditRequest
from edit_lit.guards.followed_keys import FollowedKeys
from edit_lit.guards.held_writes import HeldWrites, check_beginning, protected, trains
from edit_lit.guards.protected_write import trained_bias
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

    With ``refresh`` it goes after keys that drift: every so many steps the keys are read again, through the model as it
    is, from the lowest edited layer up, and from then on each matrix is held to what it answered right after the edit,
    v = Wₑ kₑ, at the key k of today. That is ``RestoreValues``, with the writes held in between.

    Restoring changes the edited matrix as little as it can in the sum of squares of its entries. With
    ``key_covariance`` it changes what the matrix answers to ordinary keys as little as it can, and restores as exactly.

    With a ``strength`` below 1 nothing is promised: only this share of the way is gone back behind each step, and the
    gradients stay what they are.

    Without ``refresh`` it keeps the write, and nothing else: where the keys drift, because layers below train, or
    layers above read the write otherwise, the edit can be lost all the same. ``explain`` says which of the three it is.

    Args:
        paraphrases: So many paraphrases of each fact are protected beside its own prompt.
        contexts: Texts with one ``{}``; the prompts are protected inside each of them, too.
        energy: The share of the keys' energy that is protected, above 0; 1 for all of it.
        strength: The share of the way that is gone back behind each step, above 0; 1 for all of it.
        refresh: Optimizer steps after which the keys are read again each time; 0 to keep to those of the edit.
        key_covariance: The second moment C of ordinary keys, of the model before its edit, by which restoring spares
            them; all directions are alike if not given.
        ridge: Ridge on C, as a share of its mean eigenvalue; the larger, the more alike all directions are.
    """

    def __init__(
        self,
        paraphrases: int = 0,
        contexts: Sequence[str] = (),
        energy: float = 1.0,
        strength: float = 1.0,
        refresh: int = 0,
        key_covariance: KeyCovariance | None = None,
        ridge: float = 0.0,
    ) -> None:
        super().__init__()
        check_number("guards.use.paraphrases", paraphrases, least=0)
        check_number("guards.use.energy", energy, above=0, most=1)
        check_contexts(contexts, "guards.use.contexts")
        check_number("guards.use.strength", strength, above=0, most=1)
        check_number("guards.use.refresh", refresh, least=0)
        check_number("guards.use.ridge", ridge, least=0)
        if ridge and key_covariance is None:
            raise ConfigError(
                f"guards.use.ridge is {ridge:g}, but there is no second moment that it could be on. Leave it out, or "
                "give guards.use.key_covariance."
            )
        self.paraphrases = paraphrases
        self.contexts = list(contexts)
        self.energy = energy
        self.strength = strength
        self.refresh = refresh
        self.key_covariance = key_covariance
        self.ridge = ridge
        self._following: FollowedKeys | None = None

    def setup(self, language_model: LanguageModel, delta: Delta | None, requests: Sequence[EditRequest]) -> None:
        """Read the keys at every edited layer that trains, and what its matrix answers to them."""
        layers = _held_layers(language_model, delta)
        said = with_paraphrases(requests, self.paraphrases, "guards.use.paraphrases")
        rows = rows_one_by_one(language_model, said, self.contexts)
        self.writes, self._following = {}, FollowedKeys(language_model, rows) if self.refresh else None
        ordinary = self._ordinary_keys(language_model, delta, layers)
        with evaluating(language_model.model):
            reader = KeyExtractor(language_model, rows, value_layer=max(layers))
            for layer in layers:
                module, keys_KN = language_model.output_projection(layer), reader.read(layer).bare_keys
                self.writes[f"layer {layer}"] = write = protected(
                    f"layer {layer}", module, keys_KN, self.energy, self.strength, ordinary.get(layer)
                )
                if self._following is not None:
                    self._following.add(layer, write, keys_KN)
        large = [name for name, write in self.writes.items() if 4 * write.rank > write.inputs]
        if large:
            warnings.warn(
                f"Hold protects more than a quarter of the inputs of {', '.join(large)}, which training will feel. "
                "Lower guards.use.energy, or protect fewer prompts.",
                stacklevel=2,
            )

    def _ordinary_keys(
        self, language_model: LanguageModel, delta: Delta | None, layers: Sequence[int]
    ) -> Mapping[int, Preconditioner]:
        """C⁻¹ of each layer, if it is asked for: of the model before the edit, as editors measure it and keep it."""
        if self.key_covariance is None or delta is None:
            return {}
        if any(trained_bias(language_model.output_projection(layer)) is not None for layer in layers):
            raise ConfigError(
                "guards.use.key_covariance is given, but edited matrices have a bias that trains, of which it says "
                "nothing. Leave it out."
            )
        with evaluating(language_model.model), delta.suspended(language_model):
            spectra = self.key_covariance.spectra(language_model, layers)
        found = {layer: InverseCovariance(spectrum, 1.0, self.ridge) for layer, spectrum in spectra.items()}
        unused = [f"layer {layer}" for layer, inverse in found.items() if inverse.unresolved]
        if unused:
            warnings.warn(
                f"the corpus's keys leave directions of {', '.join(unused)} unused, into which Hold writes freely, "
                "and with large weights. Set guards.use.ridge, or give key_covariance a longer corpus.",
                stacklevel=3,
            )
        return found

    def after_step(self) -> None:
        """Bring the answers to the keys back, and read the keys again if it is the turn of this step."""
        super().after_step()
        if self._following is not None and (self.step + 1) % self.refresh == 0:
            self._following.catch_up()

    def state_dict(self) -> dict[str, Tensor]:
        """The keys of today and what is answered to them, if they have been read again."""
        if self._following is None or not self._following.moved:
            return {}
        kept = {name: write.state_dict() for name, write in self.writes.items()}
        values = {f"{name}|{part}": tensor for name, parts in kept.items() for part, tensor in parts.items()}
        return {**values, "value_off": self._following.off}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Hold the keys that were held when the checkpoint was written."""
        if self._following is None or not state:
            return
        for name, write in self.writes.items():
            write.load_state_dict({key.removeprefix(f"{name}|"): tensor for key, tensor in state.items()})
        self._following.off = state["value_off"]

    def measures(self) -> Mapping[str, Tensor]:
        """As of all held writes; with ``refresh`` also by what share the values were off when keys were last read.

        That is NaN before the first time.
        """
        found = super().measures()
        return found if self._following is None else {**found, "value_off": self._following.off}

    def describe(self) -> str:
        """How many directions of how many are protected in each layer, and how."""
        ranks = ", ".join(f"{name}: {write.rank} of {write.inputs}" for name, write in self.writes.items())
        said = f"Hold keeps the edited matrices' answers to the edits' keys ({ranks} input directions)"
        if self.strength < 1:
            said += f", going back {self.strength:g} of the way"
        if self.refresh:
            said += f", and reads the keys again every {self.refresh} steps"
        return said + (", sparing ordinary keys" if self.key_covariance is not None else "")


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
