"""Erasers: what removes edits from a model, also after it has been fine-tuned."""

from edit_lit.erasers.eraser import Eraser
from edit_lit.erasers.fine_tune_edited import FineTuneEdited
from edit_lit.erasers.spectral import Spectral
from edit_lit.erasers.undo import Undo
from edit_lit.erasers.unlearn import Unlearn
from edit_lit.erasers.unwrite import Unwrite

__all__ = ["Eraser", "FineTuneEdited", "Spectral", "Undo", "Unlearn", "Unwrite"]
