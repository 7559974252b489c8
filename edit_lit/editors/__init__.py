"""Editors, and the Deltas that they make."""

from edit_lit.editors.contexts import Contexts
from edit_lit.editors.corpus import HubText, TextLines
from edit_lit.editors.delta import Delta
from edit_lit.editors.editor import Editor
from edit_lit.editors.memit import MEMIT
from edit_lit.editors.moments import SecondMoments
from edit_lit.editors.target_values import TargetValues

__all__ = ["MEMIT", "Contexts", "Delta", "Editor", "HubText", "SecondMoments", "TargetValues", "TextLines"]
