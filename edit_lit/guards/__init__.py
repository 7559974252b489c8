"""Guards: what keeps edits while the edited model is fine-tuned."""

from edit_lit.guards.agem import AGEM
from edit_lit.guards.ewc import EWC
from edit_lit.guards.guard import Guard
from edit_lit.guards.hidden_state_anchor import HiddenStateAnchor
from edit_lit.guards.hold import Hold
from edit_lit.guards.l2_sp import L2SP
from edit_lit.guards.path_null_space import PathNullSpace
from edit_lit.guards.replay import Replay

__all__ = ["AGEM", "EWC", "L2SP", "Guard", "HiddenStateAnchor", "Hold", "PathNullSpace", "Replay"]
