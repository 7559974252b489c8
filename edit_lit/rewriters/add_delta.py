"""AddDelta: the edit of the unedited model, added to the same model fine-tuned."""

from __future__ import annotations

from collections.abc import Sequence

from edit_lit.deltas import Delta, DeltaCache, WeightPart
from edit_lit.editors import Editor
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.rewriters.rewriter import Rewriter
from edit_lit.surgery.written import check_bare, named
from edit_lit.utilities.errors import ConfigError


class AddDelta(Rewriter):
    """Edits the model before its fine-tuning, and adds the Delta behind it: W becomes W_t + Δ.

    It is for a model that was fine-tuned unedited. In one that was edited first, Δ is in W_t already, and would be
    written twice.

    Args:
        editor: What makes the edit.
        cache: Where the Delta may be found, and is kept otherwise.
    """

    label = "Delta added"

    def __init__(self, editor: Editor, cache: DeltaCache | None = None) -> None:
        self.editor = editor
        self.cache = cache
        self._delta: Delta | None = None

    def setup(self, language_model: LanguageModel, delta: Delta | None, requests: Sequence[EditRequest]) -> None:
        """Make the edit; the model stays as it is."""
        if delta is not None:
            raise ConfigError(
                "AddDelta would write the edit twice: the model was edited before its fine-tuning, and still holds the "
                "Delta. Use RestoreWrites."
            )
        if self.editor.kinds != (WeightPart,):
            raise ConfigError("AddDelta adds to weights, but this editor adds modules. Use one of weights.")
        self._delta = self.editor.edit(language_model, requests, self.cache)

    def rewrite(self, language_model: LanguageModel) -> list[str]:
        """Add the Delta."""
        if self._delta is None:
            raise ConfigError("AddDelta knows of no edit. Call its setup before the fine-tuning.")
        names = list(self._delta.updates)
        check_bare(language_model, [named(language_model, name) for name in names], "AddDelta")
        # Another object, since this one could not be applied to a model a second time.
        Delta(self._delta.parts, self._delta.provenance).apply(language_model, other_weights=True)
        return names

    def describe(self) -> str:
        """To how many matrices it was added."""
        assert self._delta is not None
        return f"AddDelta added the unedited model's edit to {len(self._delta.updates)} matrices"
