"""Edit a language model, fine-tune it, and watch which edits survive."""

from importlib.metadata import version

__version__ = version("edit_lit")
