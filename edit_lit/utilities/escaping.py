"""Texts of users without what hides or reorders what is shown."""

from __future__ import annotations

import unicodedata

# Joiners are part of how Persian or Hindi is spelled; all else of their category hides or reorders what stands there.
_JOINERS = "\u200c\u200d"
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def visible(text: str) -> str:
    r"""Control characters, line breaks, lone surrogates and marks that reorder text, as escapes such as ``\x1b``.

    Examples:
        >>> print(visible("Oslo\x1b[2J, Norway"))
        Oslo\x1b[2J, Norway
    """
    return "".join(char.encode("unicode_escape").decode() if _hides(char) else char for char in text)


def _hides(char: str) -> bool:
    return unicodedata.category(char) in _HIDDEN and char not in _JOINERS
