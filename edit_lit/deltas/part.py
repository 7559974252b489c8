"""The contract of a Delta's parts: one kind of change that can be put into a model and taken out again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from torch import Tensor

from edit_lit.language_model import LanguageModel


class Part(ABC):
    """A change that can be put into a model and taken out of it again, bit for bit.

    A subclass names its ``kind``, which is written into a Delta's file. The model's own modules stay the same objects,
    so that fine-tuning reaches them with the part in place.
    """

    kind: ClassVar[str]

    @abstractmethod
    def check(self, language_model: LanguageModel) -> None:
        """Refuse a model that this part does not fit, before anything is changed.

        Raises:
            ConfigError: Naming what is missing or of another shape.
        """

    def remember(self, language_model: LanguageModel) -> None:  # noqa: B027 - only weights have something to remember
        """Take down what the model is like for which this part was made; its editor's base class calls this."""

    def check_remembered(self, language_model: LanguageModel) -> None:  # noqa: B027
        """Refuse a model that is not what :meth:`remember` took down.

        Raises:
            ConfigError: Naming what differs.
        """

    @abstractmethod
    def attach(self, language_model: LanguageModel) -> None:
        """Put the change into the model, or leave the model as it is and raise."""

    def check_unchanged(self, language_model: LanguageModel) -> None:  # noqa: B027 - most kinds keep no weights
        """Refuse to be detached from a model in which that would throw later training away.

        Raises:
            ConfigError: Naming what has changed since :meth:`attach`.
        """

    @abstractmethod
    def detach(self, language_model: LanguageModel) -> None:
        """Take the change out again, bit for bit."""

    @contextmanager
    def suspended(self, language_model: LanguageModel) -> Iterator[None]:
        """The model without this part for the length of a ``with`` block, whatever has been trained since."""
        self.detach(language_model)
        try:
            yield
        finally:
            self.attach(language_model)

    @abstractmethod
    def tensors(self) -> Mapping[str, Tensor]:
        """What is stored, by names of the part's own."""

    def fields(self) -> Mapping[str, Any]:
        """What else is stored, in types that JSON knows."""
        return {}

    @classmethod
    @abstractmethod
    def restore(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> Part:
        """Make the part of what :meth:`tensors` and :meth:`fields` stored.

        Raises:
            KeyError: If something is missing.
        """

    @abstractmethod
    def merged(self, other: Part) -> Part | None:
        """Both parts as one; None if they can only stand side by side."""
