"""The language model: its modules, token batches, hooks, KV cache, scoring and generation."""

from edit_lit.language_model.model import LanguageModel, PartNames, working_type

__all__ = ["LanguageModel", "PartNames", "working_type"]
