"""MEMIT: mass-editing memory in a transformer (Meng et al., arXiv 2210.07229)."""

from __future__ import annotations

from edit_lit.activations.contexts import Contexts
from edit_lit.editors.base.constraints import UpdateConstraint
from edit_lit.editors.base.schedule import Schedule
from edit_lit.editors.closed_form.editor import ClosedFormEditor
from edit_lit.editors.closed_form.key_covariance import KeyCovariance, Spectrum
from edit_lit.editors.closed_form.preconditioners import InverseCovariance
from edit_lit.editors.targets.options import TargetValues
from edit_lit.utilities.checks import check_number


class MEMIT(ClosedFormEditor):
    """Writes many facts at once into the MLP output projections of a few layers.

    Each layer's update minimises λ E‖Δk‖² over the corpus's keys plus Σ‖Δkᵢ − rᵢ‖² over the facts
    (equation 14), where rᵢ is an equal share of what the target value still lacks.

    Args:
        layers: The layers to edit, lowest first. If not given: those from an eighth to a quarter of the depth,
            which is 4 to 8 of 32 as published for Llama-sized models.
        covariance_weight: λ, how much preserved keys weigh against edited ones. Published: 15000 for GPT-J and
            Llama, 20000 for GPT-2 XL; a small model needs far less.
        ridge: Ridge on the second moment, as a share of its mean eigenvalue; 0 is the published method. It keeps
            the edit small where the keys of the corpus span few directions.
        target_values: How target hidden states are found.
        contexts: Texts in front of the prompts.
        key_covariance: Second moments of the keys to preserve.
        constraint: Limits what is written; nothing does if not given.
        schedule: Batches and passes. Without batches, all facts are written together; with them, a batch does not
            know of earlier ones (see MEMITSequential).
    """

    def __init__(
        self,
        layers: list[int] | None = None,
        covariance_weight: float = 15000.0,
        ridge: float = 0.0,
        target_values: TargetValues = TargetValues(),
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
