"""Reading a model at the subject's last token: token rows, contexts, keys and values."""

from edit_lit.activations.contexts import Contexts

__all__ = ["Contexts"]
