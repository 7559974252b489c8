"""Small records as JSON files, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.files import write_atomically

T = TypeVar("T")


def read_json(path: Path, make: Callable[[Any], T], what: str, remedy: str) -> T | None:
    """What a file describes; none if there is no file.

    Args:
        path: The file.
        make: Makes it of the file's content, and raises where that does not fit.
        what: What the file should be, such as ``record of a run``.
        remedy: What to do if it is not.

    Raises:
        ConfigError: If the file cannot be read or is damaged.
    """
    try:
        return make(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ConfigError(f"{path} is no {what} ({type(error).__name__}: {error}). {remedy}") from error


def write_json(path: Path, content: Any, indent: int = 1) -> None:
    """Write a file.

    Args:
        path: The file.
        content: What it describes, of what JSON knows.
        indent: Spaces before each level.
    """
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))
