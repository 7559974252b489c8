"""What an edit changes: Deltas, and the states of a model that they make."""

from edit_lit.deltas.delta import Delta, Provenance

__all__ = ["Delta", "Provenance"]
