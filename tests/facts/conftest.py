from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Writer = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """Write records to a JSON file and give its path."""

    def written(*records: Any, name: str = "facts.json") -> str:
        path = tmp_path / name
        path.write_text(json.dumps(list(records)), encoding="utf-8")
        return str(path)

    return written
