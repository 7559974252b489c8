"""PMET: precise model editing (Li et al., arXiv 2308.08742)."""

from __future__ import annotations

from math import sqrt

from edit_lit.editors.closed_form import ClosedFormEditor
from edit_lit.editors.contexts import Contexts
from edit_lit.editors.moments import SecondMoments, Spectrum
from edit_lit.editors.restraints import Restraint
from edit_lit.editors.schedule import Schedule
from edit_lit.editors.sites import MLPAndAttention
from edit_lit.editors.solver import InverseMoment
from edit_lit.editors.target_values import TargetValues


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
        moments: Second moments of the keys to preserve.
        restraint: Limits what is written; nothing does if not given.
        schedule: Batches and passes.
    """

    site = MLPAndAttention()

    def __init__(
        self,
        layers: list[int] | None = None,
        covariance_weight: float = 6000.0,
        ridge: float = 0.0,
        target_values: TargetValues = TargetValues(
            steps=30, lr=0.2, kl_weight=1.0, correct_nll_weight=0.1, correct_stop_kl=0.01
        ),
        contexts: Contexts = Contexts(),
        moments: SecondMoments = SecondMoments(),
        restraint: Restraint | None = None,
        schedule: Schedule = Schedule(),
    ) -> None:
        super().__init__(layers, target_values, contexts, moments, restraint, schedule)
        if covariance_weight <= 0:
            raise ValueError(f"covariance_weight is {covariance_weight}; it must be above 0.")
        if ridge < 0:
            raise ValueError(f"ridge is {ridge}; it must be 0 or more.")
        self.covariance_weight = covariance_weight
        self.ridge = ridge

    def preconditioner(self, spectrum: Spectrum) -> InverseMoment:
        """(λC)⁻¹, with the ridge if there is one."""
        return InverseMoment(spectrum, self.covariance_weight, self.ridge)

    def share(self, layers_left: int) -> float:
        """1/√(layers left)."""
        return 1.0 / sqrt(layers_left)
