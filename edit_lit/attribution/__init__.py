"""Why edits are lost: which part of a fine-tuned model undid each of them."""

from edit_lit.attribution.attribute import Recorded, attribute
from edit_lit.attribution.file import read_attribution, write_attribution
from edit_lit.attribution.groups import GROUPS, Group
from edit_lit.attribution.losses import Losses, find_losses
from edit_lit.attribution.result import Attribution, LostEdit
from edit_lit.attribution.verdict import Verdict

__all__ = [
    "GROUPS",
    "Attribution",
    "Group",
    "Losses",
    "LostEdit",
    "Recorded",
    "Verdict",
    "attribute",
    "find_losses",
    "read_attribution",
    "write_attribution",
]
