"""Whether a lost edit is gone or hidden: cheap tests of the fine-tuned model, each beside one without the edit."""

from edit_lit.recoverability.battery import Battery
from edit_lit.recoverability.lost import LostEdits, lost_edits
from edit_lit.recoverability.result import Evidence, Finding, Recoverability, Verdict
from edit_lit.recoverability.sides import Side, trained_control, unedited_control

__all__ = [
    "Battery",
    "Evidence",
    "Finding",
    "LostEdits",
    "Recoverability",
    "Side",
    "Verdict",
    "lost_edits",
    "trained_control",
    "unedited_control",
]
