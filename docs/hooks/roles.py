"""Griffe extension: cross-references that docstrings write as roles, such as ``:meth:`edit```, become links."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|attr|mod|data):`(?P<short>~?)(?P<path>[\w.]+)`")


class Roles(griffe.Extension):
    """Rewrites roles to the links that mkdocstrings resolves from where the docstring stands."""

    def on_object(self, *, obj: griffe.Object, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(_link, obj.docstring.value)


def _link(match: re.Match[str]) -> str:
    path = match["path"]
    shown = path.rsplit(".", 1)[-1] if match["short"] else path
    return f"[`{shown}`][{path}]"
