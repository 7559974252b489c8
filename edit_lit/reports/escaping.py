"""Names and texts of users, made harmless for the place where they are shown."""

from __future__ import annotations

import re

from rich.text import Text

from edit_lit.utilities.escaping import visible

# An underscore within a word is no markup, and brackets are none without an address behind them.
_MARKDOWN = re.compile(r"[\\`*|#]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "~": "&#126;"})


def markdown_text(text: str) -> str:
    r"""A text that Markdown shows as it is, on one line, also in a cell of a table and where HTML is allowed.

    Examples:
        >>> print(markdown_text("<b>a|b</b> of run_1"))
        &lt;b&gt;a\|b&lt;/b&gt; of run_1
    """
    return _MARKDOWN.sub(r"\\\g<0>", visible(text)).translate(_ENTITIES)


def markdown_code(text: str) -> str:
    """Lines of code as a block of Markdown that nothing within can end."""
    return "".join(f"    {visible(line)}\n" for line in text.rstrip("\n").expandtabs(4).split("\n"))


def figure_text(text: str) -> str:
    r"""A text that matplotlib shows as it is: without mathematics, and in legends also if it begins with ``_``.

    Examples:
        >>> print(figure_text("_5$ and 6$"))
         _5\$ and 6\$
    """
    shown = visible(text).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def terminal_text(text: str) -> Text:
    """A text that the terminal shows as it is: Rich finds no markup in it."""
    return Text(visible(text))
