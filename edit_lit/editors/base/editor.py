"""The contract of every editor: requests in, a Delta out, the model left as it was."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from edit_lit.deltas import Delta, DeltaCache, Part, Provenance, WeightPart
from edit_lit.deltas.provenance import code_hash
from edit_lit.editors.base.diagnostics import warn_of_shared_subjects
from edit_lit.facts.request import EditRequest, requests_hash
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.fingerprint import check_finite_weights, model_fingerprint, tokenizer_fingerprint
from edit_lit.language_model.limits import check_lengths
from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.identity import class_name, options_of

log = logging.getLogger(__name__)

Computation = Callable[[Provenance], tuple[list[Part], dict[str, Any]]]
"""Makes the parts of a Delta and the diagnostics of its edit."""


class Editor(ABC):
    """Turns edit requests into a Delta.

    Options are constructor arguments, each kept in an attribute of its own name. With several processes every
    one calls :meth:`edit` with the same arguments and gets the same Delta.
    """

    kinds: ClassVar[tuple[type[Part], ...]] = (WeightPart,)
    """The kinds of part that this editor's Deltas hold."""

    @property
    def ignored_options(self) -> Collection[str]:
        """Options that make no difference as the others are, so that a Delta does not depend on them."""
        return ()

    @abstractmethod
    def edited_layers(self, language_model: LanguageModel) -> list[int]:
        """The layers that this editor changes in this model.

        Raises:
            ConfigError: If the options name layers that the model does not have.
        """

    def edit(
        self, language_model: LanguageModel, requests: Sequence[EditRequest], cache: DeltaCache | None = None
    ) -> Delta:
        """Compute what the edit changes; the model comes back bit for bit as it was.

        Args:
            language_model: The model to edit.
            requests: The facts to write.
            cache: Where a Delta of just this edit may be found, and is kept otherwise.

        Returns:
            The change, not applied yet.

        Raises:
            ConfigError: If there are no requests, or one cannot be edited, or the model's weights or what is computed
                hold NaN or infinity; the message names it.
        """
        if not requests:
            raise ConfigError("there are no edit requests. Name at least one fact to edit.")
        check_finite_weights(language_model.model)
        compute = self.prepare(language_model, requests)
        provenance = self.provenance(language_model, requests)
        if cache is None:
            return self._made(compute, provenance, language_model)
        with cache.making(provenance):
            found = cache.find(provenance, self.kinds)
            if found is not None:
                warn_of_shared_subjects(found.provenance.diagnostics)
                return found
            delta = self._made(compute, provenance, language_model)
            cache.keep(delta)
            return delta

    def _made(self, compute: Computation, provenance: Provenance, language_model: LanguageModel) -> Delta:
        started = time.perf_counter()
        parts, diagnostics = compute(provenance)
        for part in parts:
            part.remember(language_model)
        seconds = time.perf_counter() - started
        if distributed.rank() == 0:
            log.info("edit made in %.1f s", seconds)
        provenance = replace(provenance, diagnostics={**diagnostics, "seconds": seconds})
        return distributed.from_first_process(Delta(parts, provenance))

    @abstractmethod
    def prepare(self, language_model: LanguageModel, requests: Sequence[EditRequest]) -> Computation:
        """Tokenise the requests and refuse what cannot be edited; what is left of the edit to compute.

        The computation gets the edit's provenance and gives the parts of the Delta, with what a reader should know
        about how the edit went. Every process runs it; the first one's result counts. The model must come back bit for
        bit as it was.

        Args:
            language_model: The model to edit.
            requests: The facts to write, at least one.

        Raises:
            ConfigError: Naming the request or the option.
        """

    def provenance(self, language_model: LanguageModel, requests: Sequence[EditRequest]) -> Provenance:
        """What identifies the Delta that :meth:`edit` would return."""
        return Provenance(
            editor=class_name(type(self)),
            options=options_of(self, self.ignored_options),
            model=model_fingerprint(language_model.model),
            tokenizer=tokenizer_fingerprint(language_model.tokenizer),
            requests=requests_hash(requests),
            layers=tuple(self.edited_layers(language_model)),
            code=code_hash(type(self)),
        )


def check_prompts(
    language_model: LanguageModel, requests: Sequence[EditRequest], lengths: Sequence[int], around: int = 0
) -> None:
    """Refuse requests for which a model has too few positions.

    Args:
        language_model: The model.
        requests: The facts to write.
        lengths: Tokens of each fact's prompt with its target.
        around: Tokens that a context may add.

    Raises:
        ConfigError: Naming the request with the longest prompt, and the limit.
    """
    beside = f" with up to {around} tokens of context" if around else ""
    check_lengths(
        language_model,
        [length + around for length in lengths],
        lambda longest: f"{requests[longest].name}: its prompt{beside}",
        "Shorten it",
    )
