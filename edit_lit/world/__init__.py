"""The embedded world: a small synthetic world of facts, its task and text, and a small model that knows it."""

from edit_lit.world.corpus import WorldCorpus
from edit_lit.world.facts import World
from edit_lit.world.language_model import MODEL_FOLDER, WorldModel
from edit_lit.world.task import WorldReviews

__all__ = ["MODEL_FOLDER", "World", "WorldCorpus", "WorldModel", "WorldReviews"]
