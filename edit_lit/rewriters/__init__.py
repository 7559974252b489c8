"""Rewriters: what brings edits back into a model that has been fine-tuned."""

from edit_lit.rewriters.add_delta import AddDelta
from edit_lit.rewriters.edit_again import EditAgain
from edit_lit.rewriters.interpolate import Interpolate
from edit_lit.rewriters.restore_values import RestoreValues
from edit_lit.rewriters.restore_writes import RestoreWrites
from edit_lit.rewriters.rewrite import Rewrite
from edit_lit.rewriters.rewriter import Rewriter

__all__ = ["AddDelta", "EditAgain", "Interpolate", "RestoreValues", "RestoreWrites", "Rewrite", "Rewriter"]
