"""Guards: what keeps edits while the edited model is fine-tuned."""

from edit_lit.guards.guard import Guard
from edit_lit.guards.hold import Hold

__all__ = ["Guard", "Hold"]
