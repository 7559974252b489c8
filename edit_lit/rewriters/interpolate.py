"""Interpolate: a model between the edited and the fine-tuned one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edit_lit.deltas import Delta
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.rewriters.rewriter import Rewriter
from edit_lit.surgery.stages import own_weights
from edit_lit.surgery.written import check_bare, named
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


class Interpolate(Rewriter):
    """Goes a part of the way from the fine-tuned model back to the edited one: θ becomes θ_e + α (θ − θ_e).

    WiSE-FT (Wortsman et al., arXiv 2109.01903), with the edited model in the pretrained one's place. It trades what was
    learnt for what was kept, and knows nothing of the edits.

    Args:
        alpha: The share α of the fine-tuning that stays, above 0 and below 1.
    """

    def __init__(self, alpha: float = 0.5) -> None:
        check_number("rewriter.alpha", alpha, above=0, below=1)
        self.alpha = alpha
        self.label = f"interpolated, {alpha:g}"
        self._edited: dict[str, Tensor] = {}

    def setup(self, language_model: LanguageModel, delta: Delta | None, requests: Sequence[EditRequest]) -> None:
        """Copy all weights, to the CPU."""
        if delta is None:
            raise ConfigError("Interpolate goes back to the edited model, but there was no edit. Leave it out.")
        own = own_weights(language_model)
        self._edited = {language_model.parameter_name(parameter): values for parameter, values in own.items()}

    @torch.no_grad()
    def rewrite(self, language_model: LanguageModel) -> list[str]:
        """Go back, with all weights that are others now."""
        if not self._edited:
            raise ConfigError("Interpolate knows of no edit. Call its setup right after the edit.")
        now = {name: named(language_model, name) for name in self._edited}
        moved = {name: one for name, one in now.items() if not torch.equal(one.cpu(), self._edited[name])}
        check_bare(language_model, moved.values(), "Interpolate")
        for name, parameter in moved.items():
            then = self._edited[name].to(parameter.device).double()
            parameter.copy_(then.lerp(parameter.double(), self.alpha))
        return list(moved)

    def describe(self) -> str:
        """How much of the fine-tuning stayed."""
        return f"Interpolate kept {self.alpha:.0%} of the way from the edited model to the fine-tuned one"
