"""ROME: rank-one model editing (Meng et al., arXiv 2202.05262)."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from edit_lit.activations.contexts import Contexts
from edit_lit.activations.hook_points import MLPOutput
from edit_lit.activations.keys import KeysAndValues
from edit_lit.deltas import Provenance
from edit_lit.editors.base.constraints import UpdateConstraint
from edit_lit.editors.base.schedule import Schedule
from edit_lit.editors.closed_form.editor import ClosedFormEditor
from edit_lit.editors.closed_form.key_covariance import KeyCovariance, Spectrum
from edit_lit.editors.closed_form.preconditioners import Identity, InverseCovariance, Preconditioner
from edit_lit.editors.targets.options import TargetValues
from edit_lit.facts.request import EditRequest
from edit_lit.language_model import LanguageModel
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


class ROME(ClosedFormEditor):
    """Writes one fact at a time by a rank-one update of one layer.

    Δ = (v* − W k) (C⁻¹k̄)ᵀ / (kᵀC⁻¹k̄) (equation 2), where k is the key of the bare prompt and k̄ the mean key over
    contexts, as in the published code. The two differ most for a subject that begins the prompt; kᵀC⁻¹k̄ may then be
    near 0 and one edit destroys the model, which RROME cures. Of several facts each is written to the model as
    edited by the former ones.

    Args:
        layers: The layer to edit, as a list of one. If not given: the one at 5/32 of the depth, which is 5 of 32 as
            published for Llama-sized models.
        use_moments: Choose the key's direction by the second moment of preserved keys, as published. If not, the
            direction is the key itself, as in some public code.
        ridge: Ridge on the second moment, as a share of its mean eigenvalue; 0 is the published method.
        target_values: How target hidden states are found.
        contexts: Texts in front of the prompts.
        key_covariance: Second moments of the keys to preserve.
        constraint: Limits what is written; nothing does if not given.
        schedule: Passes and paraphrases; ``batch_size`` must be 1.
    """

    hook_point = MLPOutput()

    def __init__(
        self,
        layers: list[int] | None = None,
        use_moments: bool = True,
        ridge: float = 0.0,
        target_values: TargetValues = TargetValues(steps=20, clamp=4.0),
        contexts: Contexts = Contexts(words=("",), tokens=(5, 10), samples=10, uniform_weights=True),
        key_covariance: KeyCovariance = KeyCovariance(),
        constraint: UpdateConstraint | None = None,
        schedule: Schedule = Schedule(batch_size=1),
    ) -> None:
        super().__init__(layers, target_values, contexts, key_covariance, constraint, schedule)
        if self.schedule.batch_size != 1:
            raise ConfigError(
                f"schedule.batch_size is {schedule.batch_size}, but {type(self).__name__} writes one fact at a time. "
                "Set it to 1, or use EMMET for batches."
            )
        check_number("ridge", ridge, least=0)
        if ridge and not use_moments:
            warnings.warn("ridge has no effect without use_moments. Set it to 0.", stacklevel=2)
        self.use_moments = use_moments
        self.ridge = ridge

    def default_layers(self, depth: int) -> list[int]:
        """The layer at 5/32 of the depth."""
        return [depth * 5 // 32]

    def edited_layers(self, language_model: LanguageModel) -> list[int]:
        """The one given layer, or the default one for this depth."""
        layers = super().edited_layers(language_model)
        if len(layers) > 1:
            raise ConfigError(f"layers is {layers}, but {type(self).__name__} edits one layer. Name one.")
        return layers

    def batches(self, requests: Sequence[EditRequest]) -> list[list[EditRequest]]:
        """Every request by itself, paraphrases too."""
        return [[request] for batch in super().batches(requests) for request in batch]

    @property
    def ignored_options(self) -> Collection[str]:
        """The key covariance, where it is not used; its corpus is then not read."""
        return () if self.use_moments else ("key_covariance", "ridge")

    def preconditioner(self, spectrum: Spectrum) -> InverseCovariance:
        """C⁻¹; its scale cancels."""
        return InverseCovariance(spectrum, 1.0, self.ridge)

    def preconditioners(
        self, language_model: LanguageModel, layers: Sequence[int], provenance: Provenance
    ) -> Mapping[int, Preconditioner]:
        """C⁻¹ of each layer, or I."""
        if not self.use_moments:
            return dict.fromkeys(layers, Identity())
        return super().preconditioners(language_model, layers, provenance)

    def solve(
        self, preconditioner: Preconditioner, reading: KeysAndValues, targets_FD: Tensor, weight_DN: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The rank-one update whose direction comes from the mean key, and whose size from the bare one."""
        direction_N1 = preconditioner @ reading.keys.T
        return (targets_FD - reading.values).T / (reading.bare_keys @ direction_N1), direction_N1
