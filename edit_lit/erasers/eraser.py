"""What every eraser is: it may read the edit when that is made, and takes it out of the weights later on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from edit_lit.deltas import Delta
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel


class Eraser(ABC):
    """Removes edits from a model, in its weights.

    One that knows the edit is told of it before the fine-tuning::

        eraser = Unwrite()
        eraser.setup(language_model, delta, requests)  # right after the edit
        ...  # fine-tuning
        eraser.erase(language_model)

    One that needs weights alone has a :meth:`setup` that does nothing and need not be called. Parameters that
    :meth:`changes` does not name stay bit for bit what they are, flags and modes too.
    """

    def setup(  # noqa: B027 - an eraser may need nothing but the weights
        self, language_model: LanguageModel, delta: Delta, requests: Sequence[EditRequest]
    ) -> None:
        """Read what is needed of the edit; called again, it starts anew.

        Args:
            language_model: The model with the Delta applied, before any training step, or as it was then: see
                :meth:`~edit_lit.deltas.model_states.ModelStates.edited`.
            delta: The edit, applied.
            requests: The edited facts.

        Raises:
            ConfigError: If it is an edit of a kind that this eraser cannot remove.
        """

    @abstractmethod
    def changes(self, language_model: LanguageModel) -> list[str]:
        """Names, as in the plain model, of the parameters that :meth:`erase` may change; behind :meth:`setup`."""

    @abstractmethod
    def erase(self, language_model: LanguageModel) -> None:
        """Take the edits out of the model as it is now.

        Args:
            language_model: The model. No adapter may be on what is changed: merge it first.

        Raises:
            ConfigError: If it cannot act, or not as it promises; nothing is changed then.
        """

    @abstractmethod
    def describe(self) -> str:
        """What it did, with what it measured, in one line; behind :meth:`erase`."""
