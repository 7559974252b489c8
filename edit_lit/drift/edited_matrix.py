"""What became of one edited matrix: its keys, what it writes at them, and how much of its drift undoes the edit.

Shape legend: E edits, O outputs and I inputs of the matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edit_lit.deltas import LowRank, Update
from edit_lit.drift.representation import cosine, relative_change
from edit_lit.drift.weights import Matrix


def key_drift(then_EI: Tensor, now_EI: Tensor) -> dict[str, Tensor]:
    """``cosine`` of each edit's key with what it was, and ``relative``, the size of its change, each [E]."""
    return {"cosine": cosine(then_EI, now_EI), "relative": relative_change(then_EI, now_EI)}


def value_drift(
    before: Matrix, now: Matrix, update: Update, keys_then_EI: Tensor, keys_now_EI: Tensor
) -> dict[str, Tensor]:
    """What became of the value that the edit writes for each key.

    With the edit's own write Δk, its length s and direction u, and the matrices W_e right after the edit and W_t now:

    - ``write_retention``: 1 + u·(W_t − W_e) k / s, of the old key. 1 is intact, 0 overwritten, below 0 reversed.
    - ``delivered``: u·(W_t k_t − W_e k_e) / s, the change of the output along the write; −1 takes all of it away. It is
      the sum of ``by_write``, the change of the matrix at the mean of both keys, and ``by_key``, the change of the key
      under the mean of both matrices: the Shapley value of two players. A bias counts as a part of the matrix.
    - ``by_key_of_edit``: the part of ``by_key`` that is Δ times the change of the key; the rest is ordinary drift of
      what the matrix held besides.
    - ``relative``: ‖W_t k_t − W_e k_e‖ / ‖W_e k_e‖.

    Args:
        before: The matrix right after the edit.
        now: The matrix now.
        update: The edit's update of it, as outputs × inputs.
        keys_then_EI: The keys right after the edit, float64.
        keys_now_EI: The keys now, float64.

    Returns:
        Each by its name, [E]; NaN where the edit writes nothing for a key.
    """
    old_old, new_old = before(keys_then_EI), now(keys_then_EI)
    old_new, new_new = before(keys_now_EI), now(keys_now_EI)
    write_EO = applied(update, keys_then_EI)
    scale_EO = write_EO / write_EO.square().sum(dim=1, keepdim=True)  # u / s
    parts = {
        "write_retention": new_old - old_old,
        "delivered": new_new - old_old,
        "by_write": (new_old - old_old + new_new - old_new) / 2,
        "by_key": (old_new - old_old + new_new - new_old) / 2,
        "by_key_of_edit": applied(update, keys_now_EI - keys_then_EI),
    }
    along = {name: (part_EO * scale_EO).sum(dim=1) for name, part_EO in parts.items()}
    along["write_retention"] = along["write_retention"] + 1
    return {**along, "relative": relative_change(old_old, new_new)}


def drift_along(before: Matrix, now: Matrix, update: Update) -> float:
    """⟨W_t − W_e, Δ⟩: the drift's component along the update; −‖Δ‖² if it takes the edit back."""
    change_OI = now.weight_OI - before.weight_OI
    if isinstance(update, LowRank):
        left, right = update.left.to(change_OI), update.right.to(change_OI)
        return float(((change_OI @ right) * left).sum())
    return float((change_OI * update.dense().to(change_OI)).sum())


def drift_on_keys(before: Matrix, now: Matrix, update: Update, keys_EI: Tensor) -> float:
    """‖(W_t − W_e) K‖ / ‖Δ K‖ over the edited keys right after the edit; NaN if the edit writes nothing for them."""
    written = applied(update, keys_EI).norm()
    change_OI = now.weight_OI - before.weight_OI
    return float((keys_EI @ change_OI.T).norm() / written) if written > 0 else float("nan")


def applied(update: Update, inputs_EI: Tensor) -> Tensor:
    """What an update, as outputs × inputs, makes of some inputs, [E, O], in float64."""
    if isinstance(update, LowRank):
        left, right = (factor.to(inputs_EI.device, torch.float64) for factor in (update.left, update.right))
        return inputs_EI.double() @ right @ left.T
    return inputs_EI.double() @ update.dense().to(inputs_EI.device).T
