from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's caches."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tiny matrices are faster on one thread, and sums come out the same everywhere."""
    torch.set_num_threads(1)


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    """A text file with one document a line."""
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(tiny.TEXT * 3))
    return str(path)
