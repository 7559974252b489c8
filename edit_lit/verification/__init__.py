"""A gate for models: whether facts are answered as a file demands."""

from edit_lit.verification.demand import Demand, Demands
from edit_lit.verification.judging import Judged, Standing
from edit_lit.verification.verification import Verification

__all__ = ["Demand", "Demands", "Judged", "Standing", "Verification"]
