"""Editors, and the Deltas that they make."""

from edit_lit.editors.alphaedit import AlphaEdit
from edit_lit.editors.contexts import Contexts
from edit_lit.editors.corpus import HubText, TextLines
from edit_lit.editors.delta import Delta
from edit_lit.editors.editor import Editor
from edit_lit.editors.emmet import EMMET
from edit_lit.editors.encore import ENCORE
from edit_lit.editors.ft_l import FTL
from edit_lit.editors.ft_m import FTM
from edit_lit.editors.locft_bf import LocFTBF
from edit_lit.editors.lora_edit import LoRAEdit
from edit_lit.editors.memit import MEMIT
from edit_lit.editors.memit_sequential import MEMITSequential
from edit_lit.editors.moments import SecondMoments
from edit_lit.editors.norm_anchor import NormAnchor
from edit_lit.editors.null_space import BelowShare, BelowValue, BeyondRank
from edit_lit.editors.pmet import PMET
from edit_lit.editors.restraints import PRUNE, RECT, SPHERE
from edit_lit.editors.rome import ROME
from edit_lit.editors.rrome import RROME
from edit_lit.editors.schedule import Schedule
from edit_lit.editors.target_training import TargetTraining
from edit_lit.editors.target_values import Anchor, TargetValues

__all__ = [
    "EMMET",
    "ENCORE",
    "FTL",
    "FTM",
    "MEMIT",
    "PMET",
    "PRUNE",
    "RECT",
    "ROME",
    "RROME",
    "SPHERE",
    "AlphaEdit",
    "Anchor",
    "BelowShare",
    "BelowValue",
    "BeyondRank",
    "Contexts",
    "Delta",
    "Editor",
    "HubText",
    "LoRAEdit",
    "LocFTBF",
    "MEMITSequential",
    "NormAnchor",
    "Schedule",
    "SecondMoments",
    "TargetTraining",
    "TargetValues",
    "TextLines",
]
