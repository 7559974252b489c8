"""The files of a sweep's report: each table as Markdown, CSV and LaTeX, figures, and one page with all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from edit_lit.pages import html
from edit_lit.reports.escaping import markdown_text
from edit_lit.reports.figure_files import write_figure
from edit_lit.reports.report import notes_markdown
from edit_lit.reports.table import markdown_table
from edit_lit.reports.table_files import Table, write_csv_and_latex
from edit_lit.utilities.files import write_atomically


def write_table(folder: Path, table: Table) -> None:
    """Write a table as ``<name>.md``, ``<name>.csv`` and ``<name>.tex``."""
    _write(folder / f"{table.name}.md", f"# {markdown_text(table.title)}\n\n{_table_markdown(table)}")
    write_csv_and_latex(folder, table)


def write_figures(folder: Path, name: str, figures: Iterable[tuple[str, Figure]]) -> Iterator[tuple[str, str]]:
    """Write figures with titles as ``<name>``, ``<name>_1`` and so on, each as PNG and SVG; gives titles and names."""
    for number, (title, figure) in enumerate(figures):
        file = f"{name}_{number}" if number else name
        write_figure(folder, file, figure)
        yield title, file


def write_page(
    folder: Path, name: str, notes: Sequence[str], tables: Sequence[Table], figures: Sequence[tuple[str, str]]
) -> None:
    """Write the page with notes, figures and tables, as ``sweep.md`` and, with all in one file, ``sweep.html``."""
    images = "\n".join(f"![{markdown_text(title)}]({file}.png)\n" for title, file in figures)
    parts = [f"# {markdown_text(name)}\n", notes_markdown(notes), images]
    parts += [f"## {markdown_text(table.title)}\n\n{_table_markdown(table)}" for table in tables]
    _write(folder / "sweep.md", "\n".join(parts))
    first, *others = [
        html.section(table.title, html.table(table.header, table.rows, sortable=True), html.bullets(table.notes))
        for table in tables
    ]
    drawn = (html.image((folder / f"{file}.svg").read_bytes(), title) for title, file in figures)
    _write(folder / "sweep.html", html.page(name, html.bullets(notes), first, html.section("Figures", *drawn), *others))


def _table_markdown(table: Table) -> str:
    return "\n".join(filter(None, (markdown_table(table.header, table.rows), notes_markdown(table.notes))))


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
