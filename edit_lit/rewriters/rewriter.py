"""What every rewriter is: it may read the model as it was before the fine-tuning, and writes edits into it later on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import nn

from edit_lit.deltas import Delta
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel


class Rewriter(ABC):
    """Writes facts into a fine-tuned model, in its weights.

    What is told before the fine-tuning is what it knows::

        rewriter = RestoreValues()
        rewriter.setup(language_model, delta, requests)  # right after the edit
        ...  # fine-tuning
        rewriter.rewrite(language_model)

    Attributes:
        label: What a table calls it.
        cause: What an edit was lost by that it is the least to bring back; none if that says nothing.
    """

    label: str
    cause: str | None = None

    @abstractmethod
    def setup(self, language_model: LanguageModel, delta: Delta | None, requests: Sequence[EditRequest]) -> None:
        """Read what is needed of the model before its fine-tuning; called again, it starts anew.

        Args:
            language_model: The model before any training step, or as it was then: see
                :meth:`~edit_lit.deltas.model_states.ModelStates.edited`.
            delta: The edit, applied; none if the model was fine-tuned unedited.
            requests: The facts to write.

        Raises:
            ConfigError: If it can do nothing for a model that was edited so, or was not edited.
        """

    def targets(self, language_model: LanguageModel) -> list[nn.Parameter]:
        """The matrices that it writes into, where they are known beforehand; behind :meth:`setup`.

        Args:
            language_model: The model.
        """
        return []

    @abstractmethod
    def rewrite(self, language_model: LanguageModel) -> list[str]:
        """Write the facts into the model as it is now.

        Args:
            language_model: The model. No adapter may be on what is changed: merge it first.

        Returns:
            Names, as in the plain model, of the parameters that it may have changed. All others are bit for bit what
            they were.

        Raises:
            ConfigError: If it cannot act; nothing is changed then.
        """

    @abstractmethod
    def describe(self) -> str:
        """What it did, with what it measured, in one line; behind :meth:`rewrite`."""
