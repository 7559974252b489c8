"""Figures as files: pixels for pages that show them, and vectors for pages that are printed."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from edit_lit.utilities.files import write_atomically


def write_figure(folder: Path, name: str, figure: Figure) -> None:
    """Write a figure as ``<name>.png`` and ``<name>.svg``."""
    write_atomically(folder / f"{name}.png", partial(figure.savefig, dpi=150))
    figure.set_layout_engine("none")  # The parts have their places, which take long to find.
    write_atomically(folder / f"{name}.svg", partial(Path.write_bytes, data=vector(figure)))


def vector(drawn: Figure) -> bytes:
    """A figure as SVG; the same figure gives the same bytes."""
    file = io.BytesIO()
    with rc_context({"svg.hashsalt": "edit_lit"}):
        drawn.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
