"""EditAgain: a new edit of the model as fine-tuning left it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from edit_lit.deltas import Delta, WeightPart
from edit_lit.editors import Editor
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.rewriters.rewriter import Rewriter
from edit_lit.surgery.written import check_bare, named
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.identity import class_name, options_of


class EditAgain(Rewriter):
    """Makes a new edit of the facts, on the model as it is now.

    Of a model that was fine-tuned unedited it is the other order: fine-tune first, and edit afterwards.

    Args:
        editor: What makes the edit.
    """

    label = "edited again"
    cause = "read otherwise"

    def __init__(self, editor: Editor) -> None:
        self.editor = editor
        self._requests: Sequence[EditRequest] = ()
        self._sizes: dict[str, float] = {}
        self._first: Delta | None = None

    def setup(self, language_model: LanguageModel, delta: Delta | None, requests: Sequence[EditRequest]) -> None:
        """Take the facts."""
        if self.editor.kinds != (WeightPart,):
            raise ConfigError("EditAgain writes into weights, but this editor adds modules. Use one of weights.")
        self._requests, self._sizes = requests, {}
        self.label = "edited again" if delta is not None else "edited afterwards"
        self._first = delta if delta is not None and _made_by(delta, self.editor) else None

    def targets(self, language_model: LanguageModel) -> list[nn.Parameter]:
        """The matrices of the first edit, if this editor made it."""
        return [named(language_model, name) for name in (self._first.updates if self._first is not None else ())]

    def rewrite(self, language_model: LanguageModel) -> list[str]:
        """Make the edit and apply it."""
        delta = self.editor.edit(language_model, self._requests)
        check_bare(language_model, [named(language_model, name) for name in delta.updates], "EditAgain")
        self._sizes = delta.relative_norms(language_model)
        delta.apply(language_model)
        return list(delta.updates)

    def describe(self) -> str:
        """The size of the new edit."""
        sizes = ", ".join(f"{size:.2f}" for size in self._sizes.values())
        return f"EditAgain made a new edit of {len(self._requests)} facts; ‖Δ‖/‖W‖ by matrix: {sizes}"


def _made_by(delta: Delta, editor: Editor) -> bool:
    """Whether a Delta is of an editor with just these options, which writes into the same matrices."""
    made = delta.provenance
    return (made.editor, made.options) == (class_name(type(editor)), options_of(editor, editor.ignored_options))
