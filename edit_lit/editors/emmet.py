"""EMMET: many facts under an equality constraint (Gupta et al., arXiv 2403.14236)."""

from __future__ import annotations

from torch import Tensor

from edit_lit.activations.contexts import Contexts
from edit_lit.activations.keys import KeysAndValues
from edit_lit.editors.base.constraints import UpdateConstraint
from edit_lit.editors.base.schedule import Schedule
from edit_lit.editors.closed_form.editor import ClosedFormEditor
from edit_lit.editors.closed_form.key_covariance import KeyCovariance, Spectrum
from edit_lit.editors.closed_form.preconditioners import InverseCovariance, Preconditioner
from edit_lit.editors.closed_form.solver import solve_update
from edit_lit.editors.targets.options import TargetValues
from edit_lit.utilities.checks import check_number


class EMMET(ClosedFormEditor):
    """Writes facts exactly, at the least cost to preserved keys: ROME's objective for many facts at once.

    The update minimises λ E‖Δk‖² subject to Δkᵢ = rᵢ. For several facts the constraint is softened by ε, without
    which nearly equal keys give huge updates; with ε = 1 it is MEMIT.

    Args:
        layers: The layers to edit, lowest first. If not given: the one at 5/32 of the depth, which is 5 of 32 as
            published for Llama-sized models.
        covariance_weight: λ; only its ratio to ε matters. Published: 1000 for GPT-2 XL, 1 for GPT-J and Llama-2.
        epsilon: ε, how soft the constraint is for several facts; a single one is always written exactly.
        ridge: Ridge on the second moment, as a share of its mean eigenvalue; 0 is the published method.
        target_values: How target hidden states are found.
        contexts: Texts in front of the prompts.
        key_covariance: Second moments of the keys to preserve.
        constraint: Limits what is written; nothing does if not given.
        schedule: Batches and passes.
    """

    def __init__(
        self,
        layers: list[int] | None = None,
        covariance_weight: float = 1.0,
        epsilon: float = 0.1,
        ridge: float = 0.0,
        target_values: TargetValues = TargetValues(),
        contexts: Contexts = Contexts(),
        key_covariance: KeyCovariance = KeyCovariance(),
        constraint: UpdateConstraint | None = None,
        schedule: Schedule = Schedule(),
    ) -> None:
        super().__init__(layers, target_values, contexts, key_covariance, constraint, schedule)
        check_number("covariance_weight", covariance_weight, above=0)
        check_number("epsilon", epsilon, least=0)
        check_number("ridge", ridge, least=0)
        self.covariance_weight = covariance_weight
        self.epsilon = epsilon
        self.ridge = ridge

    def default_layers(self, depth: int) -> list[int]:
        """The layer at 5/32 of the depth."""
        return [depth * 5 // 32]

    def preconditioner(self, spectrum: Spectrum) -> InverseCovariance:
        """(λC)⁻¹, with the ridge if there is one."""
        return InverseCovariance(spectrum, self.covariance_weight, self.ridge)

    def solve(
        self, preconditioner: Preconditioner, reading: KeysAndValues, targets_FD: Tensor, weight_DN: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The constrained update, softened by ε where there are several facts."""
        epsilon = self.epsilon if len(targets_FD) > 1 else 0.0
        return solve_update(preconditioner, reading.keys.T, (targets_FD - reading.values).T, epsilon)
