"""Tables as LaTeX, with the rules of the package ``booktabs``."""

from __future__ import annotations

from collections.abc import Sequence

from edit_lit.reports.table import Row
from edit_lit.utilities.escaping import visible

_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "−": "$-$",
        "→": r"$\rightarrow$",
        # Behind the end of a row these would be an argument of it.
        "[": "{[}",
        "]": "{]}",
        "*": "{*}",
    }
)


def latex_text(text: str) -> str:
    r"""A text that LaTeX sets as it is.

    Examples:
        >>> print(latex_text("lr_5 & 80% [70, 90]"))
        lr\_5 \& 80\% {[}70, 90{]}
    """
    return visible(text).translate(_ESCAPES)


def latex_table(header: Row, rows: Sequence[Row], title: str) -> str:
    """A ``tabular`` in a ``table``, its first column to the left and the others to the right."""
    lines = [f"{' & '.join(map(latex_text, cells))} \\\\\n" for cells in (header, *rows)]
    columns = "l" + "r" * (len(header) - 1)
    body = "".join(lines[1:])
    return (
        "% \\usepackage{booktabs}\n"
        f"\\begin{{table}}\n\\centering\n\\caption{{{latex_text(title)}}}\n\\begin{{tabular}}{{{columns}}}\n"
        f"\\toprule\n{lines[0]}\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
    )
