"""The embedded language model, which knows the facts of the world."""

from __future__ import annotations

from pathlib import Path

from edit_lit.language_model import LanguageModel

MODEL_FOLDER = Path(__file__).parent / "model"


class WorldModel(LanguageModel):
    """The language model that comes with this package and knows the facts of the world.

    Args:
        dtype: Weights' type: ``float32``, ``bfloat16``, ``float16``, ``float64`` or ``auto``.
    """

    def __init__(self, dtype: str = "float32") -> None:
        super().__init__(str(MODEL_FOLDER), dtype=dtype)
