"""How far hidden states moved: relative size of the change, cosine, linear CKA, and directions.

Shape legend: F prompts, D hidden size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def relative_change(then_FD: Tensor, now_FD: Tensor) -> Tensor:
    """‖now − then‖ / ‖then‖ of each prompt, [F]; NaN where the state was 0.

    Examples:
        >>> relative_change(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 5.0]]))
        tensor([0.2000])
    """
    size_F = then_FD.norm(dim=1)
    return torch.where(size_F > 0, (now_FD - then_FD).norm(dim=1) / size_F, torch.nan)


def cosine(first_FD: Tensor, second_FD: Tensor) -> Tensor:
    """Cosine of each prompt's two vectors, [F]; NaN where either is 0, for then there is no direction."""
    defined_F = (first_FD.norm(dim=1) > 0) & (second_FD.norm(dim=1) > 0)
    # Each is brought to length 1 first, for a product of two small numbers may be 0.
    unit = F.normalize(first_FD, dim=1, eps=0) * F.normalize(second_FD, dim=1, eps=0)
    return torch.where(defined_F, unit.sum(dim=1).clamp(-1, 1), torch.nan)


def linear_cka(first_FD: Tensor, second_FD: Tensor) -> float:
    """Linear CKA of two sets of states of the same prompts (Kornblith et al., arXiv 1905.00414, section 3).

    1 if one is the other up to a rotation and a scale. It compares the two F × F Gram matrices of the centred states,
    never anything of D × D. With fewer prompts than dimensions it is biased upwards: compare it between runs, pools and
    layers of the same number of prompts.

    Returns:
        A number in [0, 1]; NaN if all prompts have the same state, or there are fewer than two.

    Examples:
        >>> states = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]]).double()
        >>> round(linear_cka(states, 2 * states.flip(1)), 6)
        1.0
    """
    grams = []
    for states_FD in (first_FD, second_FD):
        centred_FD = states_FD - states_FD.mean(dim=0)
        grams.append(centred_FD @ centred_FD.T)
    ours_FF, theirs_FF = grams
    size = ours_FF.norm() * theirs_FF.norm()
    return float((ours_FF * theirs_FF).sum() / size) if len(first_FD) > 1 and size > 0 else float("nan")


def mean_known(values_F: Tensor) -> float:
    """Mean over the prompts that have a number; NaN if none has."""
    return float(values_F[~values_F.isnan()].mean()) if not values_F.isnan().all() else float("nan")
