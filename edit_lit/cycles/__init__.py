"""Many cycles on one loaded model: edit a fact, fine-tune, ask, and go back to the model as it was."""

from edit_lit.cycles.series import Series

__all__ = ["Series"]
