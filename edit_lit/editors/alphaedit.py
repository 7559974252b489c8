"""AlphaEdit: edits in the null space of preserved keys (Fang et al., arXiv 2410.02355)."""

from __future__ import annotations

from edit_lit.activations.contexts import Contexts
from edit_lit.editors.base.constraints import UpdateConstraint
from edit_lit.editors.base.schedule import Schedule
from edit_lit.editors.closed_form.editor import ClosedFormEditor
from edit_lit.editors.closed_form.key_covariance import KeyCovariance, Spectrum
from edit_lit.editors.closed_form.null_space import BelowValue, NullSpace, NullSpaceRule
from edit_lit.editors.targets.options import TargetValues
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError


class AlphaEdit(ClosedFormEditor):
    """Writes facts where the corpus's keys leave room, and keeps earlier facts where they are.

    Each layer's update ΔP minimises Σ‖ΔPkᵢ − rᵢ‖² over the facts of a batch + Σ‖ΔPkₚ‖² over the facts written before
    + l2 ‖ΔP‖² (equation 14), where P projects onto the null space of the second moment C. C itself weighs nothing
    beyond that.

    Args:
        layers: The layers to edit, lowest first. If not given: those from an eighth to a quarter of the depth,
            which is 4 to 8 of 32 as published for Llama-sized models.
        null_space: Which eigenvectors of C span the null space: ``BelowValue`` (published), ``BelowShare`` or
            ``BeyondRank``.
        l2: Weight of the update's norm. Published: 10.
        target_values: How target hidden states are found.
        contexts: Texts in front of the prompts.
        key_covariance: Second moments of the keys to preserve.
        constraint: Limits what is written; nothing does if not given.
        schedule: Batches and passes; published are batches of 100.

    Raises:
        ConfigError: While editing, if no direction of a layer's keys is free.
    """

    accumulates = True

    def __init__(
        self,
        layers: list[int] | None = None,
        null_space: NullSpaceRule = BelowValue(),
        l2: float = 10.0,
        target_values: TargetValues = TargetValues(),
        contexts: Contexts = Contexts(),
        key_covariance: KeyCovariance = KeyCovariance(),
        constraint: UpdateConstraint | None = None,
        schedule: Schedule = Schedule(batch_size=100),
    ) -> None:
        super().__init__(layers, target_values, contexts, key_covariance, constraint, schedule)
        check_number("l2", l2, above=0)
        self.null_space = null_space
        self.l2 = l2

    def preconditioner(self, spectrum: Spectrum) -> NullSpace:
        """P / l2."""
        matrix = NullSpace(spectrum, self.null_space, self.l2)
        if matrix.free == 0:
            raise ConfigError(
                f"null_space {self.null_space} leaves no direction free: the eigenvalues of C go from "
                f"{float(spectrum.values[0]):.3g} to {float(spectrum.values[-1]):.3g}. Raise the threshold."
            )
        return matrix
