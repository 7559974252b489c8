"""Update constraints: limits on what an editor may add to a weight (RECT, PRUNE, SPHERE)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from edit_lit.deltas.updates import Dense, LowRank, Update
from edit_lit.utilities.checks import check_number

ENERGY_TOLERANCE = 1e-10
"""How far a share of energy may fall short of what is asked for, so that its last rounding decides nothing."""


class UpdateConstraint:
    """Limits the updates of one weight; a subclass overrides one of the two limits, or both.

    Everything is in the orientation outputs × inputs, [D, N], whichever way the parameter is stored.
    """

    def of_step(self, update: Update, weight: Tensor) -> Update:
        """The update of one batch, limited before it is added.

        Args:
            update: The update.
            weight: The weight that it is added to, earlier batches included.
        """
        return update

    def of_sum(self, update: Update, weight: Tensor) -> Update:
        """The sum of all updates, limited after the last batch.

        Args:
            update: The sum.
            weight: The unedited weight.
        """
        return update


@dataclass(frozen=True)
class RECT(UpdateConstraint):
    """Keeps the entries of an update that are largest against the weight's own (Gu et al., arXiv 2401.04700).

    Args:
        keep: Share of the entries that stay, ranked by abs(Δ / W); the others become zero. The paper recommends 0.4;
            its public code has 0.2.
    """

    keep: float = 0.4

    def __post_init__(self) -> None:
        check_number("constraint.keep", self.keep, above=0, most=1)

    def of_step(self, update: Update, weight: Tensor) -> Update:
        """Zero all but the relatively largest entries."""
        matrix = update.dense()
        # The small constant is the public code's; it decides what happens where a weight is zero.
        change = (matrix / (weight.double() + 1e-8)).abs()
        dropped = change.numel() - math.ceil(self.keep * change.numel())
        if dropped == 0:
            return update
        threshold = change.flatten().kthvalue(dropped).values
        return Dense(torch.where(change > threshold, matrix, 0.0))


@dataclass(frozen=True)
class PRUNE(UpdateConstraint):
    """Shrinks the large singular values of the sum of all updates (Ma et al., arXiv 2405.16821).

    A singular value σ above the unedited weight's largest one, σ₀, becomes σ₀ + log(σ) − log(σ₀). The result is added
    to the unedited weight.

    Args:
        base: Base of the logarithm; e by default. The paper also tries 1.2, 1.5 and 2.
    """

    base: float = math.e

    def __post_init__(self) -> None:
        check_number("constraint.base", self.base, above=1)

    def of_sum(self, update: Update, weight: Tensor) -> Update:
        """Replace singular values above the weight's own by their logarithm."""
        largest = torch.linalg.matrix_norm(weight.double(), ord=2)
        left, values, right = _singular(update)
        shrunk = largest + (values.log() - largest.log()) / math.log(self.base)
        return LowRank(left * torch.where(values > largest, shrunk, values), right)


@dataclass(frozen=True)
class SPHERE(UpdateConstraint):
    """Keeps an update out of the weight's leading directions (arXiv 2510.01172).

    Δ becomes Δ (I − α U Uᵀ), where U are the leading eigenvectors of ŴᵀŴ in the space of the keys, and Ŵ is the weight
    with its rows, the neurons, scaled to length 1.

    Args:
        alpha: How much of the part along U is taken away, from 0 to 1.
        energy: Share of the squared singular values of Ŵ that U holds.
    """

    alpha: float = 0.5
    energy: float = 0.5

    def __post_init__(self) -> None:
        for name in ("alpha", "energy"):
            check_number(f"constraint.{name}", getattr(self, name), above=0, most=1)

    def of_step(self, update: Update, weight: Tensor) -> Update:
        """Take away what lies along the weight's leading directions."""
        weight = weight.double()
        neurons_DN = weight / weight.norm(dim=1, keepdim=True).clamp(min=1e-8)
        _, values, directions = torch.linalg.svd(neurons_DN, full_matrices=False)
        energy = values.square().cumsum(0) / values.square().sum()
        leading_NR = directions[: int((energy < self.energy - ENERGY_TOLERANCE).sum()) + 1].T
        if isinstance(update, LowRank):
            along = leading_NR @ (leading_NR.T @ update.right.double())
            return LowRank(update.left, update.right.double() - self.alpha * along)
        matrix = update.dense()
        return Dense(matrix - self.alpha * (matrix @ leading_NR) @ leading_NR.T)


def _singular(update: Update) -> tuple[Tensor, Tensor, Tensor]:
    """U, σ and V of an update, from its thin factors where it has them."""
    if not isinstance(update, LowRank):
        left, values, right_t = torch.linalg.svd(update.dense(), full_matrices=False)
        return left, values, right_t.T
    left_q, left_r = torch.linalg.qr(update.left.double())
    right_q, right_r = torch.linalg.qr(update.right.double())
    left, values, right_t = torch.linalg.svd(left_r @ right_r.T, full_matrices=False)
    return left_q @ left, values, right_q @ right_t.T
