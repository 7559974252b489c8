"""R-ROME: ROME with one key throughout (Gupta et al., arXiv 2403.07175)."""

from __future__ import annotations

from torch import Tensor

from edit_lit.activations.contexts import Contexts
from edit_lit.activations.keys import KeysAndValues
from edit_lit.editors.base.constraints import UpdateConstraint
from edit_lit.editors.base.schedule import Schedule
from edit_lit.editors.closed_form.key_covariance import KeyCovariance
from edit_lit.editors.closed_form.preconditioners import Preconditioner
from edit_lit.editors.closed_form.solver import solve_update
from edit_lit.editors.rome import ROME
from edit_lit.editors.targets.options import TargetValues


class RROME(ROME):
    """ROME that uses the same key for the direction and the size of its update, and so cannot blow up.

    Δ = (v* − W k̄) (C⁻¹k̄)ᵀ / (k̄ᵀC⁻¹k̄), with the mean key k̄ over contexts, or with the bare prompt's key in its place.

    Args:
        layers: The layer to edit, as a list of one. If not given: the one at 5/32 of the depth, which is 5 of 32 as
            published for Llama-sized models.
        use_moments: Choose the key's direction by the second moment of preserved keys, as published. If not, the
            direction is the key itself, as in some public code.
        ridge: Ridge on the second moment, as a share of its mean eigenvalue; 0 is the published method.
        prompt_keys: Use the bare prompt's key instead of the mean key.
        target_values: How target hidden states are found.
        contexts: Texts in front of the prompts.
        key_covariance: Second moments of the keys to preserve.
        constraint: Limits what is written; nothing does if not given.
        schedule: Passes and paraphrases; ``batch_size`` must be 1.
    """

    def __init__(
        self,
        layers: list[int] | None = None,
        use_moments: bool = True,
        ridge: float = 0.0,
        prompt_keys: bool = False,
        target_values: TargetValues = TargetValues(steps=20, clamp=4.0),
        contexts: Contexts = Contexts(words=("",), tokens=(5, 10), samples=10, uniform_weights=True),
        key_covariance: KeyCovariance = KeyCovariance(),
        constraint: UpdateConstraint | None = None,
        schedule: Schedule = Schedule(batch_size=1),
    ) -> None:
        super().__init__(layers, use_moments, ridge, target_values, contexts, key_covariance, constraint, schedule)
        self.prompt_keys = prompt_keys

    def solve(
        self, preconditioner: Preconditioner, reading: KeysAndValues, targets_FD: Tensor, weight_DN: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The rank-one update that takes the one key to the target value."""
        keys_FN = reading.bare_keys if self.prompt_keys else reading.keys
        # The projection is linear, so the value at the mean key is the mean of the values.
        values_FD = reading.values + (keys_FN - reading.bare_keys) @ weight_DN.T
        return solve_update(preconditioner, keys_FN.T, (targets_FD - values_FD).T, epsilon=0.0)
