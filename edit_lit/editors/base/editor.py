"""The contract of every editor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from edit_lit.deltas.delta import Delta, Provenance
from edit_lit.deltas.identity import options_of
from edit_lit.facts.request import EditRequest, requests_hash
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.fingerprint import model_fingerprint


class Editor(ABC):
    """Turns edit requests into a Delta.

    Options are constructor arguments, each kept in an attribute of its own name. With several processes every
    one calls :meth:`edit` with the same arguments and gets the same Delta.
    """

    @abstractmethod
    def edited_layers(self, language_model: LanguageModel) -> list[int]:
        """The layers that this editor changes in this model.

        Raises:
            ConfigError: If the options name layers that the model does not have.
        """

    @abstractmethod
    def edit(self, language_model: LanguageModel, requests: Sequence[EditRequest]) -> Delta:
        """Compute what the edit changes; the model comes back bit for bit as it was.

        Args:
            language_model: The model to edit.
            requests: The facts to write.

        Returns:
            The change, not applied yet.

        Raises:
            ConfigError: If there are no requests, or one cannot be edited; the message names it.
        """

    def provenance(self, language_model: LanguageModel, requests: Sequence[EditRequest]) -> Provenance:
        """What identifies the Delta that :meth:`edit` would return."""
        return Provenance(
            editor=f"{type(self).__module__}.{type(self).__qualname__}",
            options=options_of(self),
            model=model_fingerprint(language_model.model),
            requests=requests_hash(requests),
            layers=tuple(self.edited_layers(language_model)),
        )
