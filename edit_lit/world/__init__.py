"""The embedded default: a small synthetic world of facts, and a small language model that knows it."""

from __future__ import annotations

from pathlib import Path

from edit_lit.language_model import LanguageModel
from edit_lit.world.world_corpus import WorldCorpus

__all__ = ["MODEL_FOLDER", "WorldCorpus", "WorldModel"]

MODEL_FOLDER = Path(__file__).parent / "model"


class WorldModel(LanguageModel):
    """The language model that comes with this package and knows the facts of the world.

    Args:
        dtype: Weights' type: ``float32``, ``bfloat16``, ``float16``, ``float64`` or ``auto``.
    """

    def __init__(self, dtype: str = "float32") -> None:
        super().__init__(str(MODEL_FOLDER), dtype=dtype)
