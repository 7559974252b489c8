"""PMET: precise model editing (Li et al., arXiv 2308.08742)."""

from __future__ import annotations

from math import sqrt

from edit_lit.activations.contexts import Contexts
from edit_lit.activations.hook_points import MLPAndAttention
from edit_lit.editors.base.constraints import UpdateConstraint
from edit_lit.editors.base.schedule import Schedule
from edit_lit.editors.closed_form.editor import ClosedFormEditor
from edit_lit.editors.closed_form.key_covariance import KeyCovariance, Spectrum
from edit_lit.editors.closed_form.preconditioners import InverseCovariance
from edit_lit.editors.targets.options import TargetValues
from edit_lit.utilities.checks import check_number


class PMET(ClosedFormEditor):
    """MEMIT whose target values are those of the MLP alone, found while attention may move as well.

    One vector is added to the MLP's output and one to the attention's; only the first is written. A layer takes
    1/√(layers left) of what is still missing.

    Args:
        layers: The layers to edit, lowest first. If not given: those from an eighth to a quarter of the depth,
            which is 4 to 8 of 32 as published for Llama-sized models.
        covariance_weight: λ, how much preserved keys weigh against edited ones. Published: 6000 for GPT-J.
        ridge: Ridge on the second moment, as a share of its mean eigenvalue; 0 is the published method.
        target_values: How target hidden states are found.
        contexts: Texts in front of the prompts.
        key_covariance: Second moments of the keys to preserve.
        constraint: Limits what is written; nothing does if not given.
        schedule: Batches and passes.
    """

    hook_point = MLPAndAttention()

    def __init__(
        self,
        layers: list[int] | None = None,
        covariance_weight: float = 6000.0,
        ridge: float = 0.0,
        target_values: TargetValues = TargetValues(
            steps=30, lr=0.2, kl_weight=1.0, correct_nll_weight=0.1, correct_stop_kl=0.01
        ),
        contexts: Contexts = Contexts(),
        key_covariance: KeyCovariance = KeyCovariance(),
        constraint: UpdateConstraint | None = None,
        schedule: Schedule = Schedule(),
    ) -> None:
        super().__init__(layers, target_values, contexts, key_covariance, constraint, schedule)
        check_number("covariance_weight", covariance_weight, above=0)
        check_number("ridge", ridge, least=0)
        self.covariance_weight = covariance_weight
        self.ridge = ridge

    def preconditioner(self, spectrum: Spectrum) -> InverseCovariance:
        """(λC)⁻¹, with the ridge if there is one."""
        return InverseCovariance(spectrum, self.covariance_weight, self.ridge)

    def residual_fraction(self, layers_left: int) -> float:
        """1/√(layers left)."""
        return 1.0 / sqrt(layers_left)
