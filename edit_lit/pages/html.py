"""The parts of a page. Whatever is not markup already is escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from markupsafe import Markup, escape

from edit_lit.utilities.escaping import visible

# Nothing is fetched, and nothing runs but the page's own script.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True)
class Cell:
    """A cell of a table that is sorted by something else than its text.

    Args:
        content: What is shown.
        order: What it is sorted by.
    """

    content: str | Markup
    order: float | str


def text(content: str | Markup) -> Markup:
    """A text as it is, with control characters made visible; markup stays what it is."""
    return content if isinstance(content, Markup) else escape(visible(content))


def paragraph(content: str | Markup, kind: str = "") -> Markup:
    """A paragraph.

    Args:
        content: Its text.
        kind: Its class in the style sheet.
    """
    return Markup('<p class="{}">{}</p>\n').format(kind, text(content))


def bullets(lines: Iterable[str | Markup]) -> Markup:
    """A list; nothing without lines."""
    items = Markup("").join(Markup("<li>{}</li>\n").format(text(line)) for line in lines)
    return Markup("<ul>\n{}</ul>\n").format(items) if items else Markup("")


def code(content: str) -> Markup:
    """A command or a file, to be copied."""
    return Markup("<pre>{}</pre>\n").format(content)


def image(svg: bytes, says: str) -> Markup:
    """A figure within the page.

    Args:
        svg: The figure as SVG.
        says: What it shows, which stands below it and is read aloud in its stead.
    """
    data = base64.b64encode(svg).decode()
    return Markup(
        '<figure><img alt="{says}" src="data:image/svg+xml;base64,{data}"><figcaption>{says}</figcaption></figure>\n'
    ).format(says=text(says), data=data)


def table(
    header: Sequence[str], rows: Iterable[Sequence[str | Markup | Cell]], caption: str = "", sortable: bool = False
) -> Markup:
    """A table; nothing without rows.

    Args:
        header: Names of the columns.
        rows: The cells; the first of each names the row.
        caption: What stands above it.
        sortable: Whether a reader can sort it by its columns and look for words in it.
    """
    lines = [Markup("<tr>{}</tr>\n").format(Markup("").join(map(_cell, row))) for row in rows]
    if not lines:
        return Markup("")
    heads = Markup("").join(Markup('<th scope="col">{}</th>').format(text(name)) for name in header)
    head = Markup("<thead><tr>{}</tr></thead>\n").format(heads)
    body = Markup("<tbody>\n{}</tbody>").format(Markup("").join(lines))
    title = Markup("<caption>{}</caption>\n").format(text(caption)) if caption else Markup("")
    kind = "sortable" if sortable else ""
    return Markup('<div class="scroll"><table class="{}">\n{}{}{}</table></div>\n').format(kind, title, head, body)


def _cell(cell: str | Markup | Cell) -> Markup:
    if isinstance(cell, Cell):
        return Markup('<td data-order="{}">{}</td>').format(cell.order, text(cell.content))
    return Markup("<td>{}</td>").format(text(cell))


def strip(states: Sequence[str], says: str) -> Markup:
    """A row of small squares, one for each probe.

    Args:
        states: The class of each square in the style sheet, such as ``alive`` or ``displaced``.
        says: What it shows, in words.
    """
    squares = Markup("").join(
        Markup('<rect class="{}" x="{}" width="7" height="12"/>').format(state, 8 * place)
        for place, state in enumerate(states)
    )
    return Markup('<svg class="strip" role="img" width="{}" height="12"><title>{}</title>{}</svg>').format(
        8 * len(states), text(says), squares
    )


def section(title: str, *parts: Markup) -> Markup:
    """A part of a page with a heading; nothing if all of it is empty."""
    content = Markup("").join(parts)
    return Markup("<section>\n<h2>{}</h2>\n{}</section>\n").format(text(title), content) if content else Markup("")


def page(title: str, *parts: Markup) -> str:
    """A whole page."""
    own = files("edit_lit.pages")
    style, script = (Markup((own / name).read_text(encoding="utf-8")) for name in ("page.css", "page.js"))
    return str(
        Markup(
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            "<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{content}"
            "</main>\n<script>\n{script}</script>\n</body>\n</html>\n"
        ).format(
            policy=_POLICY,
            title=text(title),
            style=style,
            content=Markup("").join(parts),
            script=script,
        )
    )
