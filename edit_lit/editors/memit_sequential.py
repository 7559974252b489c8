"""Sequential MEMIT: each batch is written without moving the values of earlier batches' keys."""

from __future__ import annotations

from edit_lit.activations.contexts import Contexts
from edit_lit.editors.base.constraints import UpdateConstraint
from edit_lit.editors.base.schedule import Schedule
from edit_lit.editors.closed_form.key_covariance import KeyCovariance
from edit_lit.editors.memit import MEMIT
from edit_lit.editors.targets.options import TargetValues


class MEMITSequential(MEMIT):
    """MEMIT that keeps the keys of earlier batches where they are while it writes the next ones.

    The keys of each batch join those that count as preserved, so that a batch minimises
    λ E‖Δk‖² + Σ‖Δkₚ‖² over all facts written before + Σ‖Δkᵢ − rᵢ‖² over its own. It is the MEMIT baseline of
    AlphaEdit's public code (arXiv 2410.02355) and often the strongest method at thousands of facts.

    Args:
        layers: The layers to edit, lowest first. If not given: those from an eighth to a quarter of the depth,
            which is 4 to 8 of 32 as published for Llama-sized models.
        covariance_weight: λ, how much preserved keys weigh against edited ones. Published: 15000 for GPT-J and
            Llama, 20000 for GPT-2 XL; a small model needs far less.
        ridge: Ridge on the second moment, as a share of its mean eigenvalue; 0 is the published method.
        target_values: How target hidden states are found.
        contexts: Texts in front of the prompts.
        key_covariance: Second moments of the keys to preserve.
        constraint: Limits what is written; nothing does if not given.
        schedule: Batches and passes; published are batches of 100.
    """

    accumulates = True

    def __init__(
        self,
        layers: list[int] | None = None,
        covariance_weight: float = 15000.0,
        ridge: float = 0.0,
        target_values: TargetValues = TargetValues(),
        contexts: Contexts = Contexts(),
        key_covariance: KeyCovariance = KeyCovariance(),
        constraint: UpdateConstraint | None = None,
        schedule: Schedule = Schedule(batch_size=100),
    ) -> None:
        super().__init__(
            layers, covariance_weight, ridge, target_values, contexts, key_covariance, constraint, schedule
        )
