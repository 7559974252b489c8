"""Editors: one file a method."""

from edit_lit.editors.alphaedit import AlphaEdit
from edit_lit.editors.base.constraints import PRUNE, RECT, SPHERE
from edit_lit.editors.base.editor import Editor
from edit_lit.editors.base.schedule import Schedule
from edit_lit.editors.closed_form.key_covariance import KeyCovariance
from edit_lit.editors.closed_form.null_space import BelowShare, BelowValue, BeyondRank
from edit_lit.editors.emmet import EMMET
from edit_lit.editors.encore import ENCORE
from edit_lit.editors.ft_l import FTL
from edit_lit.editors.ft_m import FTM
from edit_lit.editors.gradient.training import TargetTraining
from edit_lit.editors.locft_bf import LocFTBF
from edit_lit.editors.lora import LoRAEdit
from edit_lit.editors.memit import MEMIT
from edit_lit.editors.memit_sequential import MEMITSequential
from edit_lit.editors.pmet import PMET
from edit_lit.editors.r_rome import RROME
from edit_lit.editors.rome import ROME
from edit_lit.editors.targets.norm_anchor import NormAnchor
from edit_lit.editors.targets.options import Anchor, TargetValues

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
    "Editor",
    "KeyCovariance",
    "LoRAEdit",
    "LocFTBF",
    "MEMITSequential",
    "NormAnchor",
    "Schedule",
    "TargetTraining",
    "TargetValues",
]
