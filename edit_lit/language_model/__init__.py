"""A causal language model: its parts, its token batches, its hooks and its scores."""

from edit_lit.language_model.model import LanguageModel, PartNames, working_type

__all__ = ["LanguageModel", "PartNames", "working_type"]
