"""Rewrite: the edits are written anew every so many steps while the model is fine-tuned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from edit_lit.deltas import Delta
from edit_lit.deltas.swap import on_cpu, write_values
from edit_lit.facts.request import EditRequest
from edit_lit.guards import Guard
from edit_lit.language_model import LanguageModel
from edit_lit.rewriters.rewriter import Rewriter
from edit_lit.surgery.stages import own_weights, relative_change_together
from edit_lit.surgery.written import named
from edit_lit.utilities import distributed
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


class Rewrite(Guard):
    """Rewrites the model behind every so many optimizer steps, and does nothing in between.

    Any rewriter of a model that was edited first will do: ``RestoreWrites`` and ``RestoreValues`` put back what the
    edited matrices answered right after the edit, ``EditAgain`` makes a new edit of the model as it is, and
    ``Interpolate`` goes a part of the way back with all weights. ``AddDelta`` would write it twice, and is refused.

    At the end of the training nothing more is done, whichever step it is: ``rewrite RUN`` is for finished runs. The
    optimizer knows nothing of it, so that its momentum goes on as before. All processes go on with what the first one
    wrote.

    Args:
        rewriter: What rewrites.
        every: Optimizer steps between two rewritings.
    """

    def __init__(self, rewriter: Rewriter, every: int = 100) -> None:
        check_number("guards.use.every", every, least=1)
        self.rewriter = rewriter
        self.every = every
        self._language_model: LanguageModel | None = None
        self._change = math.nan

    def setup(self, language_model: LanguageModel, delta: Delta | None, requests: Sequence[EditRequest]) -> None:
        """Let the rewriter read the model right after the edit, and refuse what could not be kept in a checkpoint."""
        name = type(self.rewriter).__name__
        if delta is None:
            raise ConfigError("Rewrite brings an edit back, but the run edits nothing. Leave it out.")
        modules = language_model.model.modules()
        if isinstance(language_model.model, PeftModel) or any(isinstance(one, BaseTunerLayer) for one in modules):
            raise ConfigError(
                f"Rewrite lets {name} change the model's own weights, but an adapter trains above them, which it would "
                "not see. Train with FullTuning, or rewrite the finished run, whose adapter is merged: rewrite RUN."
            )
        self.rewriter.setup(language_model, delta, requests)
        self._check_trains(language_model, self.rewriter.targets(language_model))
        self._language_model, self._change = language_model, math.nan

    @torch.no_grad()
    def after_step(self) -> None:
        """Rewrite, if it is the turn of this step."""
        if (self.step + 1) % self.every:
            return
        language_model = self._language_model
        assert language_model is not None, "call setup first"
        before = {one: on_cpu(one) for one in self.rewriter.targets(language_model)} or own_weights(language_model)
        with torch.autocast(language_model.device.type, enabled=False):
            changed = [named(language_model, name) for name in self.rewriter.rewrite(language_model)]
        try:
            self._check_trains(language_model, [one for one in changed if not _same(one, before.get(one))])
        except ConfigError:
            write_values({one: before[one] for one in changed if one in before})
            raise
        for parameter in changed:
            distributed.take_from_first_process(parameter.detach())
        self._change = relative_change_together((before[one], one) for one in changed if one in before)

    def _check_trains(self, language_model: LanguageModel, parameters: Sequence[nn.Parameter]) -> None:
        """Refuse weights that do not train: a checkpoint would not hold what was made of them.

        Raises:
            ConfigError: Naming one.
        """
        still = next((one for one in parameters if not one.requires_grad), None)
        if still is not None:
            name = language_model.parameter_name(still)
            raise ConfigError(
                f"Rewrite lets {type(self.rewriter).__name__} change {name}, which does not train, so that checkpoints "
                "would not hold it. Let it train (tuning.layers, tuning.modules), or rewrite the finished run: rewrite "
                "RUN."
            )

    def describe(self) -> str:
        """What rewrites, and how often."""
        return f"Rewrite lets {type(self.rewriter).__name__} act on the model behind every {self.every} optimizer steps"

    def measures(self) -> Mapping[str, Tensor]:
        """By what share of their norm the last rewriting changed the weights that it wrote into; NaN before it."""
        return {"change": torch.tensor(self._change)}


def _same(parameter: nn.Parameter, before: Tensor | None) -> bool:
    """Whether a parameter is bit for bit as it was; yes if it was not remembered, as what cannot have changed."""
    return before is None or torch.equal(parameter.detach().cpu(), before)
