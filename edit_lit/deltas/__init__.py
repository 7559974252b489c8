"""What an edit changes: Deltas, where they come from, and the states of a model that they make."""

from edit_lit.deltas.adapters import AdapterPart, adapter_parts
from edit_lit.deltas.cache import DeltaCache
from edit_lit.deltas.delta import Delta, read_provenance
from edit_lit.deltas.model_states import ModelStates
from edit_lit.deltas.part import Part
from edit_lit.deltas.provenance import Provenance
from edit_lit.deltas.updates import Dense, LowRank, Update
from edit_lit.deltas.weight_part import WeightPart

__all__ = [
    "AdapterPart",
    "Delta",
    "DeltaCache",
    "Dense",
    "LowRank",
    "ModelStates",
    "Part",
    "Provenance",
    "Update",
    "WeightPart",
    "adapter_parts",
    "read_provenance",
]
