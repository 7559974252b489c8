"""ENCORE: sequential editing with a norm constraint and early stopping (Gupta et al., arXiv 2502.01636)."""

from __future__ import annotations

from edit_lit.activations.contexts import Contexts
from edit_lit.editors.base.constraints import UpdateConstraint
from edit_lit.editors.base.schedule import Schedule
from edit_lit.editors.closed_form.editor import ClosedFormEditor
from edit_lit.editors.closed_form.key_covariance import KeyCovariance, Spectrum
from edit_lit.editors.closed_form.preconditioners import InverseCovariance
from edit_lit.editors.targets.options import TargetValues
from edit_lit.utilities.checks import check_number


class ENCORE(ClosedFormEditor):
    """Sequential MEMIT with small updates, and target values whose search stops once they suffice.

    Each layer's update minimises λ E‖Δk‖² + γ‖Δ‖² + Σ‖Δkₚ‖² over the facts written before + Σ‖Δkᵢ − rᵢ‖²; the search
    for a target value ends soon after the target has become the most probable answer.

    Args:
        layers: The layers to edit, lowest first. If not given: those from an eighth to a quarter of the depth,
            which is 4 to 8 of 32 as published for Llama-sized models.
        covariance_weight: λ. Published: 20000 for GPT-2 XL, 15000 for Llama.
        norm_weight: γ, weight of the update's norm. Published: 10 for GPT-2 XL and Llama-2, 20 for Llama-3.
        target_values: How target hidden states are found. Published ``stop_correct``: 4 for GPT-2 XL, 3 for Llama-2,
            2 for Llama-3.
        contexts: Texts in front of the prompts.
        key_covariance: Second moments of the keys to preserve.
        constraint: Limits what is written; nothing does if not given.
        schedule: Batches and passes.
    """

    accumulates = True

    def __init__(
        self,
        layers: list[int] | None = None,
        covariance_weight: float = 15000.0,
        norm_weight: float = 10.0,
        target_values: TargetValues = TargetValues(stop_correct=3),
        contexts: Contexts = Contexts(),
        key_covariance: KeyCovariance = KeyCovariance(),
        constraint: UpdateConstraint | None = None,
        schedule: Schedule = Schedule(batch_size=100),
    ) -> None:
        super().__init__(layers, target_values, contexts, key_covariance, constraint, schedule)
        check_number("covariance_weight", covariance_weight, above=0)
        check_number("norm_weight", norm_weight, least=0)
        self.covariance_weight = covariance_weight
        self.norm_weight = norm_weight

    def preconditioner(self, spectrum: Spectrum) -> InverseCovariance:
        """(λC + γI)⁻¹."""
        return InverseCovariance(spectrum, self.covariance_weight, damping=self.norm_weight)
