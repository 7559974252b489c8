"""A closed-form editor of one's own: MEMIT with a shrunk key covariance."""

from __future__ import annotations

from dataclasses import replace

from edit_lit.activations import Contexts
from edit_lit.editors import KeyCovariance, Schedule, TargetValues
from edit_lit.editors.base.constraints import UpdateConstraint
from edit_lit.editors.closed_form.editor import ClosedFormEditor
from edit_lit.editors.closed_form.key_covariance import Spectrum
from edit_lit.editors.closed_form.preconditioners import InverseCovariance
from edit_lit.utilities.errors import ConfigError


class ShrinkageMEMIT(ClosedFormEditor):
    """MEMIT whose key covariance C is shrunk towards a multiple of the identity, as Ledoit and Wolf (2004) estimate it.

    C becomes (1 − s) C + s · tr(C)/N · I. Few texts make a poor estimate of C, whose small eigenvalues come out too
    small; the update then spends most of its norm in these directions.

    Args:
        layers: The layers to edit, lowest first; those of MEMIT if not given.
        covariance_weight: λ, how much preserved keys weigh against edited ones.
        shrinkage: s, from 0 (MEMIT) to 1 (every direction of the keys is as free as any other).
        target_values: How target hidden states are found.
        contexts: Texts in front of the prompts.
        key_covariance: Second moments of the keys to preserve.
        constraint: Limits what is written; nothing does if not given.
        schedule: Batches and passes.
    """

    def __init__(
        self,
        layers: list[int] | None = None,
        covariance_weight: float = 15000.0,
        shrinkage: float = 0.1,
        target_values: TargetValues = TargetValues(),
        contexts: Contexts = Contexts(),
        key_covariance: KeyCovariance = KeyCovariance(),
        constraint: UpdateConstraint | None = None,
        schedule: Schedule = Schedule(),
    ) -> None:
        super().__init__(layers, target_values, contexts, key_covariance, constraint, schedule)
        if not 0 <= shrinkage <= 1:
            raise ConfigError(f"shrinkage is {shrinkage}; it must lie between 0 and 1.")
        self.covariance_weight = covariance_weight
        self.shrinkage = shrinkage

    def preconditioner(self, spectrum: Spectrum) -> InverseCovariance:
        """(λ ((1 − s) C + s · tr(C)/N · I))⁻¹; shrinking leaves the eigenvectors as they are."""
        values_N = spectrum.values
        shrunk_N = (1 - self.shrinkage) * values_N + self.shrinkage * values_N.mean()
        return InverseCovariance(replace(spectrum, values=shrunk_N), self.covariance_weight)
