"""How far fine-tuning moves a model from what it was right after the edit: hidden states, keys and weights."""

from edit_lit.drift.drift import Drift
from edit_lit.drift.rows import DriftRow, read_drift

__all__ = ["Drift", "DriftRow", "read_drift"]
