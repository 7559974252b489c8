"""Whether a lost edit is gone or hidden: cheap tests of the model that lost it, each beside one without the edit."""

from edit_lit.recoverability.battery import Battery
from edit_lit.recoverability.lost import LostEdits, lost_edits, lost_since
from edit_lit.recoverability.result import Evidence, Finding, Recoverability, Verdict
from edit_lit.recoverability.sides import Side, erased_side, trained_control, unedited_control

__all__ = [
    "Battery",
    "Evidence",
    "Finding",
    "LostEdits",
    "Recoverability",
    "Side",
    "Verdict",
    "erased_side",
    "lost_edits",
    "lost_since",
    "trained_control",
    "unedited_control",
]
