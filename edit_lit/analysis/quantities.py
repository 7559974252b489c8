"""What is averaged over runs: the numbers that a run gives, each with its name, title and format."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from edit_lit.attribution.groups import GROUPS
from edit_lit.attribution.verdict import Verdict
from edit_lit.measures.fates import FATES, Fate
from edit_lit.measures.outcomes import Kind
from edit_lit.measures.scores import SCORE_NAMES


@dataclass(frozen=True)
class Quantity:
    """A number that each run gives.

    Args:
        name: Its name in files.
        title: Its name in tables.
        is_share: Whether it is a share, or a difference of shares, and is shown in percent.
        decimals: Decimals of what is not shown in percent.
    """

    name: str
    title: str
    is_share: bool = True
    decimals: int = 3

    @property
    def heading(self) -> str:
        """Its name above a column, with the unit if that is percent."""
        return f"{self.title}, %" if self.is_share else self.title

    def shown(self, value: float) -> str:
        """A value as tables show it, in percent if it is a share; nothing if it is not a number."""
        if math.isnan(value):
            return ""
        return f"{100 * value:.1f}" if self.is_share else f"{value:.{self.decimals}f}"

    def difference(self, value: float) -> str:
        """A difference as tables show it, in points or in the quantity's own unit."""
        if math.isnan(value):
            return ""
        text = f"{100 * value:+.1f}" if self.is_share else f"{value:+.{self.decimals}f}"
        return text if any(digit in text for digit in "123456789") else text[1:]


RETENTION = Quantity("retention", "retention")
RMST = Quantity("survival", "survival (RMST)")
RMST_CONFIRMED = Quantity("survival_confirmed", "survival, confirmed")
AREA = Quantity("retention_area", "area below retention")
INTRINSIC = Quantity("retention_intrinsic", "intrinsic retention")
GAP = Quantity("retention_gap", "edited − intrinsic")
RMST_INTRINSIC = Quantity("survival_intrinsic", "intrinsic survival (RMST)")
LOSS = Quantity("downstream_loss", "downstream loss", is_share=False)
ACCURACY = Quantity("downstream_accuracy", "downstream accuracy")
SEEN = Quantity("retention_seen", "retention, a guard learnt from")
UNSEEN = Quantity("retention_unseen", "retention, no guard learnt from")
TRAINED = Quantity("steps", "steps trained", is_share=False, decimals=0)
STOPPED = Quantity("came_to_its_score", "came to the score to stop at")

FIRST_LOST = {fate: Quantity(f"first_lost_{fate}", f"first lost: {fate}") for fate in FATES if fate is not Fate.ALIVE}
"""How much was lost in each way up to the horizon, by the first loss; what is left was never lost."""

LOST = Quantity("lost_edits", "lost edits a run", is_share=False, decimals=1)
NATS_LOST = {
    group: Quantity(f"nats_lost_{group}", f"nats lost: {group}", is_share=False, decimals=2) for group in GROUPS
}
"""What each group of parameters cost a lost edit, by Shapley values of its margin."""

CAUSE = {verdict: Quantity(f"cause_{verdict}".replace(" ", "_"), f"cause: {verdict}") for verdict in Verdict}
PUT_BACK = {group: Quantity(f"put_back_{group}", f"saved by putting back: {group}") for group in GROUPS}

AFTER_EDIT = {kind: Quantity(f"{name}_after_edit", f"{name} after the edit") for kind, name in SCORE_NAMES.items()}
AT_END = {kind: Quantity(f"{name}_at_end", f"{name} at the end") for kind, name in SCORE_NAMES.items()}

SURVIVAL = (AFTER_EDIT[Kind.REWRITE], RETENTION, RMST, INTRINSIC, GAP, LOSS, ACCURACY)
"""The first table of arms."""

SCORES = tuple(quantity for kind in Kind for quantity in (AFTER_EDIT[kind], AT_END[kind]))
"""The second one."""

MORE = (RMST_CONFIRMED, AREA, *FIRST_LOST.values(), RMST_INTRINSIC, SEEN, UNSEEN, TRAINED, STOPPED)
"""The third."""

COMPARED = (RETENTION, RMST, INTRINSIC, LOSS, ACCURACY)
"""What is compared between arms and along axes."""

DOWNSTREAM: Mapping[str, Quantity] = {"val_loss": LOSS, "val_accuracy": ACCURACY}
"""Quantities by the tags of the downstream task's curves."""
